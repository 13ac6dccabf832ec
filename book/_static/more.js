// Tables, formulas and code that are wider than the page fade out where there is more of them.
(() => {
  const WIDE = ".bd-article table, .bd-article pre, .bd-article div.math > mjx-container";

  function mark({target: box}) {
    if (!(box instanceof Element && box.matches(WIDE))) return;
    const right = box.scrollWidth - box.clientWidth - box.scrollLeft;
    box.classList.toggle("more-left", box.scrollLeft > 1);
    box.classList.toggle("more-right", right > 1);
    // The theme lets code that scrolls be reached by keys, but later.
    if (box.localName === "pre" && (right > 1 || box.scrollLeft > 1)) box.tabIndex = 0;
  }

  const sizes = new ResizeObserver(entries => entries.forEach(mark));
  document.addEventListener("scroll", mark, {capture: true, passive: true});
  window.addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    for (const box of document.querySelectorAll(WIDE)) sizes.observe(box);
  });
})();
