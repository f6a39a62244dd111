const choice = parsed("choice");
const field = (id) => document.getElementById(id);
let chosen = choice.chosen;
const least = choice.points.reduce((best, point, i) => (point.loss < choice.points[best].loss ? i : best), 0);
// The sparsest that gives up no more; the best where none gives up so little.
const within = (loss) => {
  const able = choice.points.map((point, i) => i).filter((i) => choice.points[i].loss <= loss + 1e-9);
  return able.length ? able.at(-1) : least;
};
// The best of those that have no more weights; the smallest where none has so few.
const affordable = (weights) => {
  const able = choice.points.map((point, i) => i).filter((i) => choice.points[i].weights <= weights);
  return able.reduce((best, i) => (choice.points[i].loss < choice.points[best].loss ? i : best), able[0] ?? choice.points.length - 1);
};
const show = (index, by) => {
  chosen = index;
  const point = choice.points[index];
  document.querySelectorAll("[data-card]").forEach((card) => { card.hidden = card.dataset.card !== point.policy; });
  document.querySelectorAll("tr[data-policy]").forEach((row) => {
    if (row.dataset.policy === point.policy) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  });
  const loss = Math.ceil(point.loss * 10) / 10;
  // What a person is typing in stays as typed.
  if (by !== "loss") field("loss").value = loss;
  if (by !== "loss-range") field("loss-range").value = by === "loss" ? field("loss").value : loss;
  if (by === "loss-range") field("loss").value = field("loss-range").value;
  if (by !== "weights") field("weights").value = point.weights;
  field("weights-range").value = choice.points.length - 1 - index;
  field("weights-range").setAttribute("aria-valuetext", point.weights + " weights");
  field("said").textContent = document.querySelector(`[data-card="${CSS.escape(point.policy)}"]`).dataset.said;
  allViews.then((views) => views.filter((view) => knows(view, "picked")).forEach((view) => view.signal("picked", point.policy).runAsync()));
};
const number = (id) => (field(id).value.trim() === "" ? NaN : Number(field(id).value));
const asked = {
  "loss": () => within(number("loss")),
  "loss-range": () => within(number("loss-range")),
  "weights": () => affordable(number("weights")),
  "weights-range": () => choice.points.length - 1 - number("weights-range"),
};
for (const [id, answer] of Object.entries(asked)) {
  field(id).addEventListener("input", () => { if (Number.isFinite(number(id))) show(answer(), id); });
}
const place = (policy) => choice.points.findIndex((point) => point.policy === policy);
document.querySelectorAll("[data-pick]").forEach((link) => link.addEventListener("click", () => show(place(link.dataset.pick))));
allViews.then((views) => views.filter((view) => knows(view, "picked")).forEach((view) => view.addEventListener("click", (event, item) => {
  const index = place(item?.datum?.snapshot_id);
  if (index >= 0) show(index);
})));
field("dials").addEventListener("submit", (event) => event.preventDefault());
field("dials").hidden = false;
show(chosen);
field("loss").value = field("loss-range").value = choice.start;
document.querySelectorAll("[data-copy]").forEach((button) => {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = field(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // Of a file the browser may refuse its clipboard.
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
});
// Moving pictures can be stopped, and begin by themselves only where a person allows that.
document.querySelectorAll("[data-play]").forEach((button) => {
  const picture = button.parentElement.querySelector("img");
  const play = (moving) => {
    picture.src = moving ? picture.dataset.moving : picture.dataset.still;
    button.textContent = moving ? "Pause" : "Play";
  };
  button.hidden = false;
  button.addEventListener("click", () => play(button.textContent === "Play"));
  play(matchMedia("(prefers-reduced-motion: no-preference)").matches);
});
