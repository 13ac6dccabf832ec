// For readers who hear the page: what has a name for the eye only gets it for the ear, too.
(() => {
  function name(root) {
    for (const handle of root.querySelectorAll(".widget-slider [role=slider]:not([aria-label])")) {
      const label = handle.closest(".widget-slider").querySelector(".widget-label");
      handle.setAttribute("aria-label", (label && label.textContent.trim()) || "frame");
    }
    for (const summary of root.querySelectorAll("nav summary:not([aria-label])")) {
      const link = summary.closest("li").querySelector("a");
      summary.setAttribute("aria-label", `Pages below ${link ? link.textContent.trim() : "this"}`);
    }
  }

  window.addEventListener("load", () => {
    name(document);
    // docutils calls the entries of a bibliography a list, and has other things between them.
    for (const list of document.querySelectorAll(".citation-list")) list.removeAttribute("role");
    // Sphinx lays long signatures out as lists of definitions without a term.
    for (const list of document.querySelectorAll(".sig dl")) list.setAttribute("role", "presentation");
    // Sliders come later than the page, each where its script stands.
    const views = 'script[type="application/vnd.jupyter.widget-view+json"]';
    for (const view of document.querySelectorAll(views)) {
      const place = view.parentElement;
      new MutationObserver(() => name(place)).observe(place, {childList: true, subtree: true});
    }
  });
})();
