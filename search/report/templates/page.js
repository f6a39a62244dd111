"use strict";
const options = { mode: "vega-lite", renderer: "svg", actions: false, tooltip: { theme: "custom" } };
const parsed = (id) => JSON.parse(document.getElementById(id).textContent);
const datasets = parsed("datasets");
const drawn = [...document.querySelectorAll("[data-chart]")].map((place) => {
  const spec = parsed("spec-" + place.dataset.chart);
  // A view writes into its rows, so each gets its own copy.
  spec.datasets = Object.fromEntries(spec.datasets.map((name) => [name, structuredClone(datasets[name])]));
  return vegaEmbed(place, spec, options).then((result) => {
    // A brush's frame is no picture of anything.
    place.querySelectorAll("[class*=' brush_brush']").forEach((frame) => frame.setAttribute("aria-hidden", "true"));
    return result.view;
  });
});
const allViews = Promise.all(drawn);
const knows = (view, name) => name in view.getState({ signals: (signal) => signal === name }).signals;
allViews.then((views) => {
  // One choice of member for all charts that can highlight it.
  const follow = views.filter((view) => knows(view, "highlight"));
  for (const view of follow) {
    view.addSignalListener("highlight", (name, value) => {
      for (const other of follow) {
        if (other !== view && other.signal(name) !== value) other.signal(name, value).runAsync();
      }
    });
  }
  document.documentElement.dataset.drawn = views.length;
}).catch((error) => console.error(error));
// Print what is folded away too.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
