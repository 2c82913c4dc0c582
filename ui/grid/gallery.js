// The pictures of a page, and which of them are selected. Data only ever becomes text or attributes, never HTML.

export default function (component) {
  const root = component.parentElement.querySelector(".gallery");
  const gallery = (root.gallery ??= new Gallery(root));
  gallery.show(component);
}

class Gallery {
  constructor(root) {
    this.root = root;
    this.bar = root.querySelector(".bar");
    this.body = root.querySelector(".body");
    this.count = root.querySelector(".count");
    this.token = null;
    this.selected = new Set();
    this.anchor = 0;
    root.querySelector(".all").onclick = () => this.select(this.cards.keys(), true);
    root.querySelector(".none").onclick = () => this.clear();
    root.onkeydown = (event) => this.key(event);
  }

  show({ data, setStateValue, setTriggerValue }) {
    this.data = data;
    this.tell = setStateValue;
    this.trigger = setTriggerValue;
    this.bar.hidden = !data.selectable;
    this.root.style.setProperty("--card", `${data.width}px`);
    if (this.token !== data.token) this.rebuild();
    this.fill();
    if (data.pending) setTimeout(() => this.trigger("more", data.token), 20);
  }

  rebuild() {
    const seen = this.token !== null;
    this.token = this.data.token;
    this.selected.clear();
    this.anchor = 0;
    this.cards = [];
    this.body.replaceChildren(...this.data.groups.map((group) => this.group(group)));
    if (this.cards.length) this.cards[0].box.tabIndex = 0;
    this.mark();
    // What comes after a decision begins at its beginning.
    if (seen && this.root.getBoundingClientRect().top < 0) this.root.scrollIntoView({ block: "start" });
  }

  group({ heading, cards }) {
    const list = element("ul", { className: "cards" });
    const first = this.cards.length;
    list.append(...cards.map((card) => this.card(card)));
    if (!heading) return list;
    const head = element("div", { className: "head" }, element("h3", { textContent: heading }));
    if (this.data.selectable) {
      const last = this.cards.length;
      const button = element("button", { type: "button", textContent: `Select ${last - first}` });
      button.setAttribute("aria-label", `Select ${last - first}: ${heading}`);
      button.onclick = () => this.select(range(first, last - 1), true);
      head.append(button);
    }
    return element("section", {}, head, list);
  }

  card(card) {
    const index = this.cards.length;
    const image = element("img", { alt: card.alt, draggable: false, hidden: true });
    const missing = element("span", { className: "missing", hidden: true });
    const box = element(this.data.selectable ? "button" : "div", { className: "box" }, image, missing);
    if (this.data.selectable) {
      box.type = "button";
      box.tabIndex = -1;
      box.setAttribute("role", "checkbox");
      box.append(element("span", { className: "tick", ariaHidden: "true", textContent: "✓" }));
      box.onclick = (event) => this.press(index, event.shiftKey);
    }
    const item = element("li", { className: "card" }, box);
    if (card.mark) box.append(element("span", { className: `mark ${card.tone}`, textContent: card.mark }));
    if (card.title) item.append(this.title(card, index));
    for (const line of card.lines) item.append(element("div", { className: "line", textContent: line, title: line }));
    this.cards.push({ box, image, missing, item });
    return item;
  }

  title(card, index) {
    const link = element("a", { className: "title", textContent: card.title, title: card.path, href: card.href });
    link.tabIndex = this.data.selectable ? -1 : 0;
    link.onclick = (event) => {
      // With a modifier the browser opens a tab of its own.
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.trigger("opened", { token: this.token, index });
    };
    return link;
  }

  fill() {
    this.data.pictures.forEach(({ src, problem }, index) => {
      const { image, missing, box } = this.cards[index];
      if (src && image.getAttribute("src") !== src) image.src = src;
      image.hidden = !src;
      missing.hidden = Boolean(src) || !problem;
      missing.textContent = problem ? "No picture" : "";
      missing.title = problem;
      box.classList.toggle("pending", !src && !problem);
    });
  }

  press(index, extend) {
    this.focus(index);
    if (extend) {
      this.select(range(Math.min(this.anchor, index), Math.max(this.anchor, index)), true);
    } else {
      this.anchor = index;
      this.select([index], !this.selected.has(index));
    }
  }

  select(indices, on) {
    for (const index of indices) on ? this.selected.add(index) : this.selected.delete(index);
    this.mark();
    this.tell("selected", { token: this.token, indices: [...this.selected].sort((a, b) => a - b) });
  }

  clear() {
    if (this.selected.size) this.select([...this.selected], false);
  }

  mark() {
    if (!this.data.selectable) return;
    this.cards.forEach(({ box, item }, index) => {
      box.setAttribute("aria-checked", String(this.selected.has(index)));
      item.classList.toggle("selected", this.selected.has(index));
    });
    this.count.textContent = `${this.selected.size} of ${this.cards.length} selected`;
    this.root.querySelector(".none").disabled = this.selected.size === 0;
  }

  focus(index) {
    for (const { box } of this.cards) box.tabIndex = -1;
    this.cards[index].box.tabIndex = 0;
    this.cards[index].box.focus();
  }

  key(event) {
    if (!this.data.selectable) return;
    if (event.key === "Escape") this.clear();
    else if ((event.ctrlKey || event.metaKey) && event.key === "a") this.select(this.cards.keys(), true);
    else {
      const at = this.cards.findIndex(({ box }) => box === event.target);
      if (at < 0) return;
      if (event.key === "Enter") this.trigger("opened", { token: this.token, index: at });
      else if (event.key in STEPS) this.move(at, STEPS[event.key], event.shiftKey);
      else return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  move(at, [across, down], extend) {
    const to = at + across + down * this.columns();
    if (to < 0 || to >= this.cards.length) return;
    if (extend) this.select(range(Math.min(at, to), Math.max(at, to)), true);
    else this.anchor = to;
    this.focus(to);
  }

  columns() {
    const top = this.cards[0].item.offsetTop;
    const next = this.cards.findIndex(({ item }) => item.offsetTop > top);
    return next < 0 ? this.cards.length : next;
  }
}

const STEPS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

function range(first, last) {
  return Array.from({ length: last - first + 1 }, (_, step) => first + step);
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
