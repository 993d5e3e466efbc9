// Gives the viewer the colours and the shape that suit the screen: they are attributes of it.

const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 48rem)");
const viewer = document.querySelector("rapi-doc");

const COLOURS = {
  "bg-color": "--ground",
  "text-color": "--text",
  "primary-color": "--accent",
  "nav-bg-color": "--panel",
  "nav-text-color": "--text",
  "nav-accent-color": "--accent",
};

function suit() {
  const known = getComputedStyle(document.documentElement);
  viewer.setAttribute("theme", dark.matches ? "dark" : "light");
  for (const [attribute, name] of Object.entries(COLOURS)) {
    viewer.setAttribute(attribute, known.getPropertyValue(name).trim());
  }
  viewer.setAttribute("render-style", narrow.matches ? "view" : "focused");
}

// The viewer's own list of operations has no name beside our links to pages.
function nameList() {
  viewer.shadowRoot.querySelector("nav")?.setAttribute("aria-label", "Operations");
}

customElements.whenDefined("rapi-doc").then(() => {
  new MutationObserver(nameList).observe(viewer.shadowRoot, { childList: true, subtree: true });
});
for (const query of [dark, narrow]) query.addEventListener("change", suit);
suit();
