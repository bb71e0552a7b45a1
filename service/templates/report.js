"use strict";

const PAGE = 50;
const [SIZE, LOWEST, BYTES, EVIDENCE, NAMES] = [0, 1, 2, 3, 4];

const find = (id) => document.getElementById(id);
const read = (id) => JSON.parse(find(id).textContent);
const number = (value) => value.toLocaleString("en");
const plain = (text) => text.normalize("NFC").toLowerCase();

const labels = read("labels");
const index = read("index");
const haystacks = index.map((entry) => plain(entry[NAMES].join("\n")));
const orders = {
  size: (a, b) => b[SIZE] - a[SIZE] || b[LOWEST] - a[LOWEST],
  bytes: (a, b) => b[BYTES] - a[BYTES],
  similar: (a, b) => b[LOWEST] - a[LOWEST],
  dissimilar: (a, b) => a[LOWEST] - b[LOWEST],
};
const controls = ["filter", "evidence", "least", "sort"].map(find);
let page = 0;
let chosen = [];

/** Numbers of the clusters that match the controls, in the order asked for. */
function choose() {
  const [filter, evidence, least, sort] = controls.map((control) => control.value);
  const needle = plain(filter.trim());
  const order = orders[sort];
  return index
    .map((_, number) => number)
    .filter((n) => index[n][SIZE] >= (Number(least) || 2))
    .filter((n) => !evidence || index[n][EVIDENCE] === evidence)
    .filter((n) => haystacks[n].includes(needle))
    .sort((a, b) => order(index[a], index[b]) || a - b);
}

function clone(id) {
  return find(id).content.cloneNode(true);
}

function put(parent, selector, text) {
  const element = parent.querySelector(selector);
  element.textContent = text;
  return element;
}

function badge(text, kind) {
  const element = document.createElement("span");
  element.className = `badge ${kind}`;
  element.textContent = text;
  return element;
}

function pictureOf(image) {
  if (image.picture === null) {
    return document.querySelector("#placeholder").content.cloneNode(true);
  }
  const element = new Image();
  element.alt = "";
  element.decoding = "async";
  element.src = image.picture;
  return element;
}

function tile(image) {
  const part = clone("tile");
  part.querySelector(".tile").classList.toggle("keeper", image.keeper);
  const link = part.querySelector(".picture");
  link.append(pictureOf(image));
  link.title = image.path;
  link.setAttribute("aria-label", image.keeper ? `${image.name}, keep` : image.name);
  if (image.href) link.href = image.href;
  const verdict = part.querySelector(".verdict");
  if (image.keeper) {
    verdict.append(badge("keep", "keep"));
  } else {
    const similarity = document.createElement("b");
    similarity.textContent = image.similarity;
    verdict.append(similarity, badge(labels[image.evidence], image.evidence));
  }
  put(part, ".name bdi", image.name).parentElement.title = image.path;
  put(part, ".folder bdi", image.folder).parentElement.title = image.folder;
  put(part, ".size", image.size);
  put(part, ".kind", image.kind);
  const button = part.querySelector(".copy");
  button.dataset.copy = image.path;
  button.setAttribute("aria-label", `Copy the path of ${image.name}`);
  return part;
}

/** The members that have no tile, by name; those that match the filter come first. */
function listRest(part, names, shown) {
  const rest = names.slice(shown);
  if (!rest.length) return;
  const needle = plain(find("filter").value.trim());
  const matching = (name) => needle !== "" && plain(name).includes(needle);
  const matches = rest.filter(matching);
  const others = rest.filter((name) => !matching(name));
  const details = part.querySelector(".more");
  details.hidden = false;
  details.open = matches.length > 0;
  put(details, "summary", `and ${number(rest.length)} more`);
  put(details, "pre", [...matches, ...others].join("\n"));
}

function card(n) {
  const cluster = read(`cluster-${n}`);
  const part = clone("card");
  part.querySelector(".card").classList.toggle("wide", cluster.members.length > 5);
  put(part, "h3", `${number(index[n][SIZE])} images`);
  put(part, ".spare", index[n][BYTES] ? `${cluster.spare} to reclaim` : "");
  put(part, ".lowest", cluster.lowest);
  put(part, ".mean", cluster.mean);
  put(part, ".links dd", number(cluster.links)).parentElement.hidden = !cluster.links;
  const id = put(part, ".id", cluster.id.slice(0, 8));
  id.dataset.copy = cluster.id;
  id.title = `Copy the cluster id ${cluster.id}`;
  part.querySelector(".tiles").append(...cluster.members.map(tile));
  listRest(part, index[n][NAMES], cluster.members.length);
  return part;
}

function show() {
  const pages = Math.max(1, Math.ceil(chosen.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  const from = page * PAGE;
  const visible = chosen.slice(from, from + PAGE);
  find("cards").replaceChildren(...visible.map(card));
  find("nothing").hidden = chosen.length > 0;
  const range = `${number(from + 1)} to ${number(from + visible.length)}`;
  const all = chosen.length === index.length ? "" : ` of ${number(index.length)}`;
  find("status").textContent = chosen.length
    ? `Clusters ${range} of ${number(chosen.length)}${all && `, chosen out${all}`}`
    : "No cluster";
  for (const nav of document.querySelectorAll(".pages")) {
    nav.hidden = pages === 1;
    nav.querySelector(".page").value = page + 1;
    nav.querySelector(".page").max = pages;
    put(nav, ".count", number(pages));
    nav.querySelector(".previous").disabled = page === 0;
    nav.querySelector(".next").disabled = page === pages - 1;
  }
}

function turn(to) {
  page = to;
  show();
  find("clusters").scrollIntoView();
}

function update() {
  page = 0;
  chosen = choose();
  show();
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.classList.add("copied");
    find("status").textContent = `Copied ${button.dataset.copy}`;
  } catch {
    window.prompt("Copy this:", button.dataset.copy);
  }
  setTimeout(() => button.classList.remove("copied"), 1500);
}

for (const nav of document.querySelectorAll(".pages")) {
  nav.append(clone("pages"));
  nav.querySelector(".previous").addEventListener("click", () => turn(page - 1));
  nav.querySelector(".next").addEventListener("click", () => turn(page + 1));
  nav.querySelector(".page").addEventListener("change", (event) => turn(Number(event.target.value) - 1));
}
for (const control of controls) control.addEventListener("input", update);
find("reset").addEventListener("click", () => {
  [find("filter").value, find("evidence").value, find("least").value] = ["", "", "2"];
  update();
  find("filter").focus();
});
find("cards").addEventListener("click", (event) => {
  const button = event.target.closest(".copy");
  if (button) copy(button);
});
update();
