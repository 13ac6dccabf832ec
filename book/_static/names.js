// Names for readers who hear the page: what has a name for the eye only gets it for the ear, too.
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
    // Sliders come later than the page.
    new MutationObserver(() => name(document)).observe(document.body, {childList: true, subtree: true});
  });
})();
