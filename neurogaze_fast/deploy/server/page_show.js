/* What is seen: one item, its frame of the moment, and of that the face that is chosen. */
const view = $("view"), video = $("video"), photo = $("photo");
const COLOURS = { neutral: "#8a8f98", happiness: "#e3a008", surprise: "#d55fb0", sadness: "#3574d4",
  anger: "#cf3a30", disgust: "#4f9d3c", fear: "#8354c4", contempt: "#1b9a95" };
const colour = (name) => COLOURS[name] || "#1f6feb";
let drawn = null;  /* the frame that the boxes belong to */

function say(text) { if ($("status").textContent !== text) { $("status").textContent = text || "\u00a0"; } }

/* Give `parent` one child for each value. Those that are there stay: a focus or a click is not lost. */
function fill(parent, values, make, update) {
  while (parent.children.length > values.length) { parent.lastElementChild.remove(); }
  while (parent.children.length < values.length) { parent.append(make(parent.children.length)); }
  values.forEach((value, i) => update(parent.children[i], value, i));
}

function draw_scales() {
  $("bars").tBodies[0].replaceChildren(...metadata.emotions.map((name) => {
    const row = document.createElement("tr"), cells = [0, 1, 2].map(() => row.insertCell());
    const track = document.createElement("div"), bar = document.createElement("div");
    track.className = "track"; bar.className = "bar"; track.append(bar); cells[1].append(track);
    bar.style.background = colour(name);
    cells[0].textContent = name;
    return row;
  }));
  $("mark").setAttribute("visibility", "hidden");
  $("marks").replaceChildren(...Object.entries(metadata.valence_arousal || {}).map(([name, va]) => {
    const mark = $("mark").cloneNode(true);
    mark.removeAttribute("id"); mark.removeAttribute("visibility");
    mark.setAttribute("transform", `translate(${50 * va[0]} ${-50 * va[1]})`);
    const word = mark.lastElementChild, left = va[0] < -0.45;  /* else anger and contempt collide */
    word.textContent = name;
    word.setAttribute("x", left ? -2 : 2);
    word.setAttribute("text-anchor", left ? "end" : "start");
    return mark;
  }));
}

function choose_item(item) {
  if (item && item.kind !== "camera") { stop_camera(); }
  shown = item; drawn = null;
  video.pause();
  photo.hidden = !item || item.kind !== "photo";
  video.hidden = $("player").hidden = !item || item.kind !== "video";
  view.hidden = !item || item.kind !== "camera";
  $("stage").hidden = !item; $("hint").hidden = Boolean(item);
  if (!photo.hidden) { photo.src = item.url; photo.alt = item.name; } else { photo.removeAttribute("src"); }
  if (!video.hidden) { video.src = item.url; } else if (video.src) { video.removeAttribute("src"); video.load(); }
  if (item && item.kind !== "camera") { fail(item.error); }
  draw_thumbs(); show();
}

/* An item has changed: draw what shows it. */
function refresh(item) {
  draw_thumbs();
  if (item !== shown) { return; }
  if (item.kind !== "camera") { fail(item.error); }
  show();
}

function draw_thumbs() {
  const words = (item) => {
    if (item.state === "failed") { return "failed"; }
    if (item.state === "waiting") { return "waits"; }
    if (item.kind === "video") { return item.state === "done" ? `${item.frames.length} moments` : progress(item); }
    const n = item.frames[0] ? item.frames[0].faces.length : 0;
    return item.state === "done" ? (n === 1 ? "1 face" : n + " faces") : "...";
  };
  fill($("thumbs"), items, () => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(document.createElement("canvas"), document.createElement("span"), document.createElement("span"));
    return button;
  }, (button, item) => {
    button.onclick = () => choose_item(item);
    button.title = item.name;
    button.setAttribute("aria-pressed", String(item === shown));
    if (item.thumb && button.firstElementChild !== item.thumb) { button.firstElementChild.replaceWith(item.thumb); }
    if (!item.thumb && button.firstElementChild.width) { button.firstElementChild.replaceWith(document.createElement("canvas")); }
    button.children[1].textContent = item.name;
    button.children[2].textContent = words(item);
  });
  $("save").disabled = !items.some((item) => item.frames.length);
  $("clear").disabled = !items.length;
}
const progress = (item) => item.step ? `${Math.round(100 * item.frames.length * item.step / item.duration)} %` : "...";

/* The frame that belongs to what is seen now: a video's latest that is not later than its picture. */
function frame_now(item) {
  if (!item || !item.frames.length) { return null; }
  if (item.kind !== "video") { return item.frames[item.frames.length - 1]; }
  const at = Math.floor(video.currentTime / item.step + 1e-3);
  return at < item.frames.length ? item.frames[at] : null;  /* null: not read so far */
}

function show() {
  const item = shown, frame = frame_now(item), faces = frame ? frame.faces : [];
  if (item && item.kind !== "video" && faces.length && !faces.some((face) => face.id === item.chosen)) {
    item.chosen = faces[0].id;
  }
  const face = faces.find((one) => one.id === item.chosen) || null;
  const rows = $("bars").tBodies[0].rows;
  metadata.emotions.forEach((name, i) => {
    const p = face ? face.probabilities[name] : 0;
    rows[i].querySelector(".bar").style.width = 100 * p + "%";
    rows[i].cells[2].textContent = face ? (100 * p).toFixed(1) + " %" : "";
    rows[i].className = face && face.label === name ? "top" : "";
  });
  const point = $("point");
  point.setAttribute("visibility", face ? "visible" : "hidden");
  if (face) { point.setAttribute("cx", 50 * face.valence); point.setAttribute("cy", -50 * face.arousal); }
  say(sentence(item, frame, face));
  draw_boxes(item, frame, faces);
  draw_list(item, faces);
  if (item && item.kind === "video") { draw_timeline(item); }
  else { $("trail").setAttribute("d", ""); }
}

function sentence(item, frame, face) {
  if (!item) { return ""; }
  if (!frame) { return item.state === "failed" ? "" : "..."; }
  const left = left_out(frame), more = left ? `; ${left} more left out, too small or too many` : "";
  if (face) {
    const who = frame.faces.length > 1 || item.kind === "video" ? `face ${face.id}: ` : "";
    return `${who}${face.label}, ${percent(face)}; valence ${face.valence.toFixed(2)}, arousal ` +
      `${face.arousal.toFixed(2)}; ${frame.latency.toFixed(1)} ms${face.box ? "" : "; the whole picture as one face"}${more}`;
  }
  return frame.faces.length ? `Face ${item.chosen} is not seen at this moment${more}.` : `No face was found${more}.`;
}
const percent = (face) => (100 * face.probabilities[face.label]).toFixed(0) + " %";

function pick(item, id) { item.chosen = id; drawn = null; show(); }

function draw_boxes(item, frame, faces) {
  const key = frame ? frame : null;
  if (key === drawn && key) { return; }
  drawn = key;
  fill($("boxes"), faces.filter((face) => face.box && frame.width), () => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(document.createElement("span"));
    return button;
  }, (button, face) => {
    const [left, top, right, bottom] = face.box, percents = (part, whole) => 100 * part / whole + "%";
    button.style.left = percents(left, frame.width); button.style.width = percents(right - left, frame.width);
    button.style.top = percents(top, frame.height); button.style.height = percents(bottom - top, frame.height);
    button.firstElementChild.textContent = face.id;
    button.setAttribute("aria-label", `Face ${face.id}: ${face.label}, ${percent(face)}`);
    button.setAttribute("aria-pressed", String(face.id === item.chosen));
    button.onclick = () => pick(item, face.id);
  });
}

/* A button for each face of the picture; for each person of a video, seen at this moment or not. */
function draw_list(item, faces) {
  const now = new Map(faces.map((face) => [face.id, face]));
  let ids = faces.map((face) => face.id);
  if (item && item.kind === "video") {
    ids = [...new Set(item.frames.flatMap((frame) => frame.faces.map((face) => face.id)))].sort((a, b) => a - b);
  }
  fill($("faces"), ids, () => Object.assign(document.createElement("button"), { type: "button" }), (button, id) => {
    const face = now.get(id);
    button.textContent = face ? `${id}: ${face.label} ${percent(face)}` : `${id}: not seen`;
    button.setAttribute("aria-pressed", String(id === item.chosen));
    button.onclick = () => pick(item, id);
  });
}

/* The picture as large as its place, and no higher than most of the window. */
function fit(width, height) {
  $("stage").style.maxWidth = width && height ? `calc(min(30rem, 70vh) * ${width / height})` : "";
}
