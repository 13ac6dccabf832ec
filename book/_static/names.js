// For readers who hear the page or have no mouse: what has a name for the eye only gets it for the
// ear, too, and what scrolls can be reached by keys.
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

  function reach() {
    for (const table of document.querySelectorAll(".bd-article table")) {
      if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
      else table.removeAttribute("tabindex");
    }
  }

  window.addEventListener("load", () => {
    name(document);
    reach();
    // docutils calls the entries of a bibliography a list, and has other things between them.
    for (const list of document.querySelectorAll(".citation-list")) list.removeAttribute("role");
    // Sliders come later than the page.
    new MutationObserver(() => name(document)).observe(document.body, {childList: true, subtree: true});
  });
  window.addEventListener("resize", reach);
})();
