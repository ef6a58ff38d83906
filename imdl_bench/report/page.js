const page = document.documentElement;
page.classList.add("scripted");

const theme = document.getElementById("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (page.dataset.theme ? page.dataset.theme === "dark" : prefersDark.matches);
const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.addEventListener("click", () => { page.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
prefersDark.addEventListener("change", nameTheme);
nameTheme();

const boardSection = document.getElementById("leaderboard");
const board = pagedTable(boardSection, 250, "rows");
board.show(rowsInPage(boardSection.querySelector("table")));

const imageData = JSON.parse(document.getElementById("image-data").textContent);
const imageSection = document.getElementById("images");
const imageGroups = document.getElementById("image-groups");
const images = pagedTable(imageSection, 100, "images");
function showImages() {
  const data = imageData[Number(imageGroups.value)];
  headOfData(imageSection.querySelector("table"), data);
  document.getElementById("images-about").textContent = `Under each model: ${data.about}.`;
  images.show(rowsOfData(data));
}
imageGroups.addEventListener("change", showImages);
showImages();

const gallerySection = document.getElementById("gallery");
if (gallerySection) gallery(gallerySection);

/* A link to a run opens it; paper shows all of it. */
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.matches("details")) target.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();

const closedForScreen = [];
addEventListener("beforeprint", () => {
  board.onePage(true);
  for (const details of document.querySelectorAll("details.run:not([open])")) {
    details.open = true;
    closedForScreen.push(details);
  }
});
addEventListener("afterprint", () => {
  board.onePage(false);
  for (const details of closedForScreen.splice(0)) details.open = false;
});
