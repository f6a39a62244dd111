"""Builds a policy in C for a Cortex-M4 and runs its self-test on QEMU's board mps2-an386."""

import shutil
import subprocess
from pathlib import Path

from rllib_ext.export.measure import CORTEX_M4

TOOLS = ("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm")
# Code from 0, memory from 0x20000000; the vector table comes first.
_LINKER = """
MEMORY {
    FLASH (rx) : ORIGIN = 0x00000000, LENGTH = 4M
    RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 4M
}
ENTRY(reset)
SECTIONS {
    .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) *(.init) *(.fini) } > FLASH
    .ARM.exidx : { *(.ARM.exidx*) } > FLASH
    .data : { *(.data*) } > RAM
    .bss : { bss_start = .; *(.bss*) *(COMMON) bss_end = .; } > RAM
    end = .;
    stack_top = ORIGIN(RAM) + LENGTH(RAM);
}
"""
_START = """
#include <stdint.h>
#include <stdlib.h>
extern int main(void);
extern void initialise_monitor_handles(void);
extern uint32_t stack_top, bss_start, bss_end;
void reset(void);
void _fini(void);
void _fini(void) {}
__attribute__((section(".vectors"), used)) static void *vectors[2] = { &stack_top, (void *)reset };
void reset(void) {
    *(volatile uint32_t *)0xE000ED88 |= 0xF << 20; /* the floating-point unit */
    for (uint32_t *p = &bss_start; p < &bss_end; p++) *p = 0;
    initialise_monitor_handles();
    exit(main());
}
"""


def missing_tools():
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def run_self_test(source: Path, folder: Path) -> subprocess.CompletedProcess:
    """Compiles a policy and its test vectors, and runs them; exit status 0: all as expected."""
    (folder / "link.ld").write_text(_LINKER)
    (folder / "start.c").write_text(_START)
    image = folder / "test.elf"
    macro = f"-D{source.stem.upper()}_TEST"
    subprocess.run(
        ["arm-none-eabi-gcc", *CORTEX_M4, "-Os", "-std=c99", "-Wall", "-Wextra", "-Werror",
         "-pedantic", macro, "-c", str(source), "-o", str(folder / "policy.o")],
        check=True,
    )  # fmt: skip
    subprocess.run(
        ["arm-none-eabi-gcc", *CORTEX_M4, "-Os", "--specs=rdimon.specs", "-nostartfiles",
         "-T", str(folder / "link.ld"), str(folder / "start.c"), str(folder / "policy.o"),
         "-o", str(image), "-lm"],
        check=True,
    )  # fmt: skip
    return subprocess.run(
        ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none",
         "-semihosting-config", "enable=on,target=native", "-kernel", str(image)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
