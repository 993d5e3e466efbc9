// The few things that the pages do to the document; whatever is shown goes in as text.

export const element = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// A shape of a drawing, which is styled by its class alone.
export function shape(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// A line of something said, or nothing; screen readers announce it by the element's role.
export function say(id, text, { isBad = false } = {}) {
  const shown = element(id);
  shown.textContent = text;
  shown.hidden = !text;
  shown.classList.toggle("bad", isBad);
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// A list of terms and what they are.
export function facts(pairs) {
  const list = make("dl", { className: "facts" });
  for (const [term, ...values] of pairs.filter(Boolean)) {
    list.append(make("div", {}, make("dt", {}, term), make("dd", {}, ...values)));
  }
  return list;
}

// Asks in a dialog. Resolves to whether the first button was pressed; Escape is a no.
export function confirmed({ title, text, yes, no }) {
  const dialog = make("dialog", { ariaLabel: title });
  return new Promise((resolve) => {
    const answer = (isYes) => {
      dialog.close();
      dialog.remove();
      resolve(isYes);
    };
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      answer(false);
    });
    dialog.append(
      make("h2", {}, title),
      make("p", {}, text),
      make(
        "div",
        { className: "buttons" },
        make("button", { type: "button", className: "danger", onclick: () => answer(true) }, yes),
        make("button", { type: "button", autofocus: true, onclick: () => answer(false) }, no),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

// Fills a select with [value, text]; with a single choice it is not shown.
export function fill(id, choices) {
  const chosen = element(id).value;
  element(id).replaceChildren(...choices.map(([value, text]) => make("option", { value }, text)));
  if (choices.some(([value]) => value === chosen)) element(id).value = chosen;
  element(`${id}-row`).hidden = choices.length < 2;
}
