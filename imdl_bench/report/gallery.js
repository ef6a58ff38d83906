/* One picture of an image takes part in the tab order; arrow keys lead to the others, here and when enlarged. */
function gallery(section) {
  const pictures = [...section.querySelectorAll(".picture")];
  const viewer = section.querySelector("#viewer");
  const stage = section.querySelector("#stage");
  const stepOf = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  let shown = 0;

  function reachable(picture) {
    for (const other of picture.closest(".strip").querySelectorAll(".picture")) other.tabIndex = other === picture ? 0 : -1;
  }

  function enlarge(at) {
    shown = (at + pictures.length) % pictures.length;
    const picture = pictures[shown];
    const drawing = picture.firstElementChild.cloneNode(true);
    stage.replaceChildren(drawing);
    const { width, height } = drawing.viewBox.baseVal;
    drawing.style.setProperty("--shape", width / height);
    section.querySelector("#viewer-title").textContent = drawing.getAttribute("aria-label");
    section.querySelector("#viewer-about").textContent = picture.dataset.about;
    section.querySelector("#viewer-place").textContent = `${shown + 1} of ${pictures.length}`;
  }

  for (const strip of section.querySelectorAll(".strip")) {
    const first = strip.querySelector(".picture");
    if (first) reachable(first);
  }
  section.addEventListener("click", (event) => {
    const picture = event.target.closest(".picture");
    if (!picture) return;
    reachable(picture);
    enlarge(pictures.indexOf(picture));
    viewer.showModal();
  });
  section.addEventListener("keydown", (event) => {
    const step = stepOf[event.key];
    const picture = event.target.closest(".picture");
    if (!step || !picture || viewer.open) return;
    const inside = [...picture.closest(".strip").querySelectorAll(".picture")];
    const next = inside[inside.indexOf(picture) + step];
    if (!next) return;
    event.preventDefault();
    reachable(next);
    next.focus();
  });
  viewer.addEventListener("keydown", (event) => {
    if (!stepOf[event.key]) return;
    event.preventDefault();
    enlarge(shown + stepOf[event.key]);
  });
  viewer.addEventListener("click", (event) => {
    const step = event.target.closest("[data-go]");
    if (step) enlarge(shown + Number(step.dataset.go));
    if (event.target === viewer || event.target.closest("[data-close]")) viewer.close();
  });
  viewer.addEventListener("close", () => { reachable(pictures[shown]); pictures[shown].focus(); });
}
