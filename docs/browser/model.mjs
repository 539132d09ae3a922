/* The exported graph in ONNX Runtime's WebAssembly build, on one thread: more would need headers that
   a plain host of files does not send. */
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

const EXPORT = new URL("../../neurogaze_fast/weights/compact/export/", import.meta.url);
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("node_modules/onnxruntime-web/dist/", import.meta.url).href;

async function get(name) {
  const reply = await fetch(new URL(name, EXPORT));
  if (!reply.ok) { throw new Error(`${name} of the model cannot be loaded (${reply.status}).`); }
  return reply;
}

/* { emotions, size, classify }. A graph whose bytes are not those of its manifest is refused. */
export async function load_model() {
  const manifest = await (await get("fp32.manifest.json")).json();
  const graph = await (await get("fp32.onnx")).arrayBuffer();
  if (crypto.subtle) {  /* on https and localhost */
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", graph));
    const found = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== manifest.sha256) { throw new Error("fp32.onnx is not the file that its manifest names."); }
  }
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  const { emotions, size, input } = manifest.provenance;

  /* { probabilities, valence, arousal } of Uint8 [size, size, 3] RGB. */
  async function classify(face) {
    const outputs = await session.run({ [input]: new ort.Tensor("uint8", face, [1, size, size, 3]) });
    const [valence, arousal] = outputs.valence_arousal.data;
    return { probabilities: [...outputs.probabilities.data], valence, arousal };
  }
  return { emotions, size, classify };
}
