// What is wider than the page fades out where there is more of it; tables and code can then be
// reached by keys.
(() => {
  const WIDE = ".bd-article table, .bd-article pre, .bd-article div.math > mjx-container";

  function mark({target: box}) {
    if (!(box instanceof Element && box.matches(WIDE))) return;
    const right = box.scrollWidth - box.clientWidth - box.scrollLeft;
    box.classList.toggle("more-left", box.scrollLeft > 1);
    box.classList.toggle("more-right", right > 1);
    if (box.localName === "mjx-container") return;
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }

  // Not when the window is resized: a sidebar may open or close later.
  const sizes = new ResizeObserver(entries => entries.forEach(mark));
  function watch() {
    for (const box of document.querySelectorAll(WIDE)) sizes.observe(box);
  }

  document.addEventListener("scroll", mark, {capture: true, passive: true});
  window.addEventListener("load", async () => {
    watch();
    await window.MathJax?.startup?.promise; // there are no formulas before
    watch();
  });
})();
