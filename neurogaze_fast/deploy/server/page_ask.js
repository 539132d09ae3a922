"use strict";
/* What the server is asked, and the files with their answers.

   An item is a file, or the camera: { kind: "photo" | "video" | "camera", file, name, state: "waiting" |
   "working" | "done" | "failed", error, thumb, frames, chosen }. A frame is one answer: { time, width,
   height, left_out, latency, faces }, `time` in seconds, null for a photo; boxes in its own pixels. A
   face keeps its number, `id`, from frame to frame. */
const $ = (id) => document.getElementById(id);
const MAX_FRAMES = 600, TRIES = 10;
let metadata = { emotions: [], max_body: 8e6, max_pixels: 4e6, detect: true };
let items = [], shown = null, running = false;

function fail(text) { $("failure").hidden = !text; $("failure").textContent = text || ""; }
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function ask(path, blob) {
  const secret = $("secret").value, headers = secret ? { Authorization: "Bearer " + secret } : {};
  if (blob && blob.type) { headers["Content-Type"] = blob.type; }
  const reply = await fetch(path, { method: blob ? "POST" : "GET", body: blob, headers, credentials: "omit" });
  if (reply.status === 401) {
    $("token").hidden = false;
    throw Object.assign(new Error("Enter this server's token."), { token: true });
  }
  const value = await reply.json().catch(() => ({}));
  if (!reply.ok) {
    const error = new Error(value.error || "The server answered " + reply.status + ".");
    throw Object.assign(error, { again: [503, 504].includes(reply.status) });
  }
  return value;
}

/* The answer for a picture as a frame; `scale` is what it was shrunk by before it was sent. A busy
   server is asked again while `wanted()`, or a photo of many would be lost to it. */
async function predict(blob, find, time, size, scale, wanted) {
  for (let attempt = 1; ; attempt++) {
    try {
      const value = await ask("/predict?detect=" + (find ? 1 : 0), blob);
      const faces = value.faces || [value];
      return { time, ...size, left_out: value.left_out, latency: value.latency_ms,
        faces: faces.map((face, i) => ({ id: i + 1, label: face.label, probabilities: face.probabilities,
          valence: face.valence, arousal: face.arousal, score: face.score,
          box: face.box && face.box.map((edge) => edge / scale) })) };
    } catch (error) {
      if (!error.again || attempt >= TRIES || !wanted()) { throw error; }
      await pause(1);
    }
  }
}

/* Draw a part of `source` on the canvas with at most so many pixels; returns the scale. */
function place(canvas, source, x, y, width, height, pixels) {
  const scale = Math.min(1, Math.sqrt(pixels / (width * height)));
  canvas.width = Math.max(1, Math.floor(width * scale));
  canvas.height = Math.max(1, Math.floor(height * scale));
  canvas.getContext("2d").drawImage(source, x, y, width, height, 0, 0, canvas.width, canvas.height);
  return scale;
}
const sending = document.createElement("canvas");
const encode = () => new Promise((done) => sending.toBlob(done, "image/jpeg", 0.92));
const finding = () => metadata.detect && $("detect").checked;
const allowed = () => 0.95 * metadata.max_pixels;

function thumbnail(item, source, width, height) {
  item.thumb = document.createElement("canvas");
  place(item.thumb, source, 0, 0, width, height, 40000);
}

async function read_photo(item, wanted) {
  const opened = await createImageBitmap(item.file).catch(() => null);
  if (!wanted()) { return; }
  if (!opened) {
    if (!/hei[cf]/.test(item.file.type)) { throw new Error("This browser cannot open that file as a picture."); }
    item.frames.push(await predict(item.file, item.find, null, {}, 1, wanted));  /* the server may */
    return;
  }
  const size = { width: opened.width, height: opened.height };
  thumbnail(item, opened, size.width, size.height);
  const as_it_is = item.file.size <= metadata.max_body && size.width * size.height <= allowed() &&
    ["image/jpeg", "image/png", "image/webp"].includes(item.file.type);
  const scale = as_it_is ? 1 : place(sending, opened, 0, 0, size.width, size.height, allowed());
  const blob = as_it_is ? item.file : await encode();
  if (opened.close) { opened.close(); }
  if (!wanted()) { return; }
  item.frames.push(await predict(blob, item.find, null, size, scale, wanted));
}

const event = (target, name, what) => new Promise((done, refuse) => {
  const late = setTimeout(() => refuse(new Error(what)), 20000);
  target.addEventListener(name, () => { clearTimeout(late); done(); }, { once: true });
  target.addEventListener("error", () => { clearTimeout(late); refuse(new Error(what)); }, { once: true });
});

/* A second player, never seen, goes through the file by seeking: what is shown may play meanwhile. */
async function read_video(item, wanted) {
  const player = document.createElement("video"), what = "This browser cannot play that file as a video.";
  player.muted = true; player.playsInline = true; player.preload = "auto";
  const ready = event(player, "loadeddata", what);
  player.src = item.url;
  player.load();
  try {
    await ready;
    if (player.duration === Infinity) {  /* a recording without an index tells it at its end only */
      const told = event(player, "seeked", what);
      player.currentTime = 1e9;
      await told;
    }
    item.duration = Number.isFinite(player.duration) ? player.duration : player.currentTime;
    const width = player.videoWidth, height = player.videoHeight;
    if (!(width && height && item.duration > 0)) { throw new Error(what); }
    item.step = Math.max(1 / item.rate, item.duration / MAX_FRAMES);
    for (let i = 0; i * item.step < item.duration && wanted(); i++) {
      const sought = event(player, "seeked", what);
      player.currentTime = i * item.step;
      await sought;
      const scale = place(sending, player, 0, 0, width, height, allowed());
      if (i === 0) { thumbnail(item, player, width, height); }
      const time = i * item.step, blob = await encode();
      if (!wanted()) { return; }
      const frame = await predict(blob, item.find, time, { width, height }, scale, wanted);
      number_faces(item, frame);
      item.frames.push(frame);
      refresh(item);
    }
  } finally { player.removeAttribute("src"); player.load(); }
}

function overlap(a, b) {
  const wide = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), high = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (wide <= 0 || high <= 0) { return 0; }
  const area = (c) => (c[2] - c[0]) * (c[3] - c[1]);
  return wide * high / (area(a) + area(b) - wide * high);
}

/* Each face takes the number of the face it overlaps most among those of the last two seconds; one
   that overlaps none is somebody new. Faces that cross may swap numbers. */
function number_faces(item, frame) {
  const boxed = frame.faces.filter((face) => face.box), pairs = [];
  item.people = (item.people || []).filter((person) => frame.time - person.time <= Math.max(2, 1.5 * (item.step || 0)));
  for (const face of boxed) {
    face.id = 0;
    for (const person of item.people) {
      const shared = overlap(face.box, person.box);
      if (shared > 0.2) { pairs.push([shared, face, person]); }
    }
  }
  const taken = new Set();
  for (const [, face, person] of pairs.sort((a, b) => b[0] - a[0])) {
    if (!face.id && !taken.has(person)) { face.id = person.id; taken.add(person); }
  }
  for (const face of boxed) {
    if (!face.id) { face.id = item.last_id = (item.last_id || 0) + 1; }
    item.people = item.people.filter((person) => person.id !== face.id);
    item.people.push({ id: face.id, box: face.box, time: frame.time });
  }
}

/* One item at a time, the one that is seen first. */
async function run() {
  if (running) { return; }
  running = true;
  const waits = (item) => item.state === "waiting";
  let item;
  while ((item = [shown, ...items].find((one) => one && waits(one)))) {
    const mine = item, wanted = () => items.includes(mine);
    mine.state = "working"; refresh(mine);
    try {
      await (mine.kind === "video" ? read_video(mine, wanted) : read_photo(mine, wanted));
      mine.state = "done";
    } catch (error) {
      mine.state = error.token ? "waiting" : "failed"; mine.error = error.message;
      if (error.token) { fail(error.message); mine.frames = []; break; }
    }
    refresh(mine);
  }
  running = false;
}

function add(files) {
  const added = [...files].filter((file) => file).map((file) => make_item(file));
  if (!added.length) { return; }
  fail("");
  items.push(...added);
  choose_item(added[0]);
  run();
}

function make_item(file) {
  return { kind: (file.type || "").startsWith("video/") ? "video" : "photo", file, name: file.name || "picture",
    url: URL.createObjectURL(file), state: "waiting", frames: [], chosen: 1,
    find: finding(), rate: Number($("rate").value) || 5 };
}

/* Ask anew about what is seen, with other settings. */
function again(item) {
  if (!item || !item.file) { return; }
  const fresh = make_item(item.file);
  fresh.thumb = item.thumb;
  URL.revokeObjectURL(item.url);
  items[items.indexOf(item)] = fresh;
  choose_item(fresh);
  run();
}
