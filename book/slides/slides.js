// Arrows, space and Page keys leaf through the slides; "n" shows the notes, and they are printed then.
const slides = [...document.querySelectorAll("section")];
const now = () => Math.round(scrollY / innerHeight);
const go = (k) => slides[Math.max(0, Math.min(k, slides.length - 1))].scrollIntoView();
const steps = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in steps) go(now() + steps[event.key]);
  else if (event.key === "Home") go(0);
  else if (event.key === "End") go(slides.length - 1);
  else if (event.key === "n") document.body.classList.toggle("notes");
  else return;
  event.preventDefault();
});
