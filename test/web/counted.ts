/**
 * @file The worker of a model that counts its sessions, and its steps: all of them, and those that began after a call
 * was aborted.
 */
import * as ort from 'onnxruntime-web/wasm';
import '../../src/web/thread.ts';

export interface CountedSteps {
  readonly sessions: number;
  readonly all: number;
  readonly afterAbort: number;
}

let [made, all, afterAbort] = [0, 0, 0];
let isAborted = false;

const sessions = ort.InferenceSession as { create(...given: unknown[]): Promise<ort.InferenceSession> };
const { create } = sessions;
sessions.create = async (...given) => {
  // One without weights starts the engine.
  if ((given[1] as ort.InferenceSession.SessionOptions).externalData?.length) made++;
  const session = await create.apply(sessions, given);
  const run = session.run.bind(session) as (...given: unknown[]) => ReturnType<ort.InferenceSession['run']>;
  session.run = (...inputs: unknown[]) => {
    all++;
    if (isAborted) afterAbort++;
    return run(...inputs);
  };
  return session;
};
globalThis.addEventListener('message', ({ data }) => {
  if (data.type === 'abort') isAborted = true;
});
const channel = new BroadcastChannel('steps');
channel.onmessage = () => channel.postMessage({ sessions: made, all, afterAbort } satisfies CountedSteps);
