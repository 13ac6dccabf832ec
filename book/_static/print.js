// A printed page shows what a reader would open by hand: what is folded, and all frames of sliders.
(() => {
  const opened = [];

  function state() {
    const script = document.querySelector('script[type="application/vnd.jupyter.widget-state+json"]');
    return script ? JSON.parse(script.textContent).state : {};
  }

  // The pictures of a widget: its own, or those of its children, in order.
  function pictures(models, id) {
    const model = models[id] && models[id].state;
    if (!model) return [];
    if (typeof model.value === "string" && model.value.startsWith("<img")) return [model.value];
    return (model.children || []).flatMap(c => pictures(models, c.replace("IPY_MODEL_", "")));
  }

  function frames() {
    const models = state();
    const views = 'script[type="application/vnd.jupyter.widget-view+json"]';
    for (const view of document.querySelectorAll(views)) {
      const box = view.parentElement;
      if (box.querySelector(".printed-frames")) continue;
      const all = pictures(models, JSON.parse(view.textContent).model_id);
      if (!all.length) continue;
      const row = document.createElement("div");
      row.className = "printed-frames";
      row.innerHTML = all.join("");
      box.append(row);
    }
  }

  window.addEventListener("beforeprint", () => {
    frames();
    for (const folded of document.querySelectorAll("details:not([open])")) {
      folded.open = true;
      opened.push(() => { folded.open = false; });
    }
    for (const hidden of document.querySelectorAll(".toggle-hidden")) {
      hidden.classList.remove("toggle-hidden");
      opened.push(() => hidden.classList.add("toggle-hidden"));
    }
  });
  window.addEventListener("afterprint", () => {
    opened.splice(0).forEach(close => close());
    window.dispatchEvent(new Event("resize")); // on paper nothing scrolls, and the theme took away the tab stops
  });
})();
