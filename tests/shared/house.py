"""The plan of the house: which wing may import which, and what of it breaks that plan."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("prunefront", "rllib_ext", "search")

# Wings of each package, by those that each may import; `rllib_ext` never imports `search`.
ORDER = (
    "base",
    "pruning",
    "envs",
    "evaluation",
    "rl",
    "policy",
    "checkpoint",
    "export",
    "member",
    "packed",
)
MAY_IMPORT = {
    f"rllib_ext.{wing}": {f"rllib_ext.{w}" for w in ORDER[:i]} for i, wing in enumerate(ORDER)
}
_CORE = {"search.config", "search.store", "search.front"}
_REMOTE = {*_CORE, "search.population", "search.cluster", "search.evaluation"}
_RUNS = {*_REMOTE, "search.training", "search.report"}
MAY_IMPORT |= {
    "search.config": set(),
    "search.store": {"search.config"},
    "search.front": {"search.config", "search.store"},
    "search.population": _CORE,
    "search.cluster": {"search.config", "search.store"},
    "search.evaluation": {*_CORE, "search.cluster"},
    "search.training": _REMOTE,
    "search.report": _CORE,
    "search.runs": _RUNS,
    "search.cli": {*_RUNS, "search.runs"},
}
# Within `rllib_ext.pruning`, files of the wing itself serve all rooms; `training` stands on the others.
MAY_IMPORT |= {
    "rllib_ext.pruning.structure": set(),
    "rllib_ext.pruning.schedule": set(),
    "rllib_ext.pruning.training": {"rllib_ext.pruning.structure", "rllib_ext.pruning.schedule"},
}
# The door in front of both packages: it passes on, and only `python -m search` comes through it.
DOOR = "prunefront"
PASSED_ON = {
    "search",
    "search.cli.main",
    "rllib_ext",
    "rllib_ext.export",
    "rllib_ext.pruning.errors",
}
COMES_THROUGH = "search.__main__"
# What importing all of a wing, or one file, must not load.
HEAVY = ("ray", "torch", "gymnasium")
LOADS_NOT = {
    "prunefront": HEAVY,
    "rllib_ext.base": HEAVY,
    "rllib_ext.pruning": ("ray", "gymnasium"),
    "rllib_ext.pruning.config": HEAVY,
    "rllib_ext.pruning.errors": HEAVY,
    "rllib_ext.envs.shift": HEAVY,
    "rllib_ext.export.loading": HEAVY,
    "rllib_ext.member.segment": HEAVY,
    "rllib_ext.rl.settings.ranges": HEAVY,
    "search.config": HEAVY,
    "search.store": HEAVY,
    "search.front": HEAVY,
    "search.population": HEAVY,
    "search.report": HEAVY,
    "search.runs.prune_settings": HEAVY,
    "search.cli": HEAVY,
}
# Each package's one file that imports private parts of Ray, and says what it works around; and what is
# private of Ray without an underscore.
EXPLAINS_RAY = {"search.cluster.ray_private", "rllib_ext.envs.env_maker"}
RAY_PRIVATE = ("ray.tune.execution.", "ray.tune.tune.", "ray.air.execution.")
AT_ROOT = {"__init__.py", "__main__.py", "py.typed"}
AT_DOOR = {"prunefront/own.py", "prunefront/export.py"}


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Files of all packages by the name that imports them."""
    found = {}
    for path in sorted(p for package in PACKAGES for p in (root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_by(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of ours that a file imports anywhere, within functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module = str(node.module)
            whole = {f"{module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else module for name in whole}
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: a relative import; name the module in full")
    return found & known.keys()


def wing_of(module: str) -> str:
    """The innermost wing with a plan that a module lies in; "" at a package's root."""
    parts = module.split(".")
    inner = [".".join(parts[:n]) for n in range(len(parts), 1, -1)]
    return next((wing for wing in inner if wing in MAY_IMPORT), "")


def breaches(wing: str, root: Path = ROOT) -> list[str]:
    """Imports of a wing that the plan doesn't allow, a line each."""
    known = modules(root)
    return [
        f"{module} imports {target}"
        for module, path in known.items()
        if wing_of(module) == wing
        for target in sorted(imported_by(path, known))
        if not _allowed(wing, wing_of(target), target)
    ]


def _allowed(wing: str, other: str, target: str) -> bool:
    if wing.startswith("rllib_ext.") and target.split(".")[0] == "search":
        return False
    if not other or wing == other or wing.split(".")[0] != other.split(".")[0]:
        return bool(other) or target in ("rllib_ext", "search")
    outer, other_outer = (".".join(w.split(".")[:2]) for w in (wing, other))
    if outer != other_outer:
        return other_outer in MAY_IMPORT[outer]
    # Files of a divided wing itself serve its rooms, and stand on none of them.
    return other == outer or other in MAY_IMPORT[wing]


def door_breaches(root: Path = ROOT) -> list[str]:
    """What the door imports beside what it passes on, and who comes through it, a line each."""
    known = modules(root)
    return [
        f"{module} imports {target}"
        for module, path in known.items()
        for target in sorted(imported_by(path, known))
        if (
            target not in PASSED_ON and target.split(".")[0] != DOOR
            if module.split(".")[0] == DOOR
            else target.split(".")[0] == DOOR and module != COMES_THROUGH
        )
    ]


def circle(root: Path = ROOT) -> list[str]:
    """Modules that import each other in a circle, lazily or for types too; none if there is none."""
    known = modules(root)
    graph = {m: imported_by(path, known) - {m} for m, path in known.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def private_parts_of_ray(root: Path = ROOT) -> list[str]:
    """Imports of Ray's private parts outside the files that explain them, a line each."""
    return [
        f"{module} imports {name}"
        for module, path in modules(root).items()
        if module not in EXPLAINS_RAY
        for name in _imported_names(path)
        if name.startswith("ray.") and (f"{name}.".startswith(RAY_PRIVATE) or "._" in name)
    ]


def _imported_names(path: Path) -> list[str]:
    """In full: "ray.tune.registry._global_registry"."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    whole = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
    parts = [(n.module, n.names) for n in nodes if isinstance(n, ast.ImportFrom)]
    return whole + [f"{module}.{alias.name}" for module, names in parts for alias in names]


def strays(root: Path = ROOT) -> set[str]:
    """Files and folders at the packages' roots that are in no wing."""
    found = {
        p.relative_to(root).as_posix()
        for package in PACKAGES
        for p in (root / package).iterdir()
        if p.name != "__pycache__"
    }
    placed = {wing.replace(".", "/") for wing in MAY_IMPORT} | AT_DOOR
    return {p for p in found if p not in placed and Path(p).name not in AT_ROOT}


def loaded_by(name: str, among: tuple[str, ...], root: Path = ROOT) -> list[str]:
    """Which of some packages a fresh interpreter has loaded that imported a file, or a whole wing."""
    names = [m for m in modules(root) if m == name or m.startswith(f"{name}.")]
    assert names, f"{name} is no module"
    code = (
        "import importlib, sys; count = int(sys.argv[1])\n"
        "for name in sys.argv[2 : 2 + count]: importlib.import_module(name)\n"
        "print(*[name for name in sys.argv[2 + count :] if name in sys.modules])"
    )
    words = [str(len(names)), *names, *among]
    run = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, cwd=root
    )
    return run.stdout.split()
