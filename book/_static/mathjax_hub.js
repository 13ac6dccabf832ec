// Widgets set their labels with MathJax 2, which had a Hub; the book has MathJax 3.
window.addEventListener("load", () => {
  if (window.MathJax && MathJax.typesetPromise && !MathJax.Hub) {
    MathJax.Hub = { Queue: ([, , element]) => MathJax.typesetPromise([element]) };
  }
});
