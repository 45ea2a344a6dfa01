/**
 * @file Lets a step in the thread of a model end before the process does: native code that runs while its thread is
 * torn down aborts the process (SIGABRT, "terminate called after throwing an instance of 'Napi::Error'").
 */

const STOP = 0;
const BUSY = 1;
/** A step that takes longer is given up. */
const PATIENCE_MS = 30_000;

/** Memory that both threads share: whether to stop, and whether a step is under way. */
export const exitFlags = (): Int32Array<SharedArrayBuffer> => new Int32Array(new SharedArrayBuffer(8));

/** In the program: no further step is to begin. Waits for the one that is under way. */
export function waitForStep(flags: Int32Array<SharedArrayBuffer>): void {
  Atomics.store(flags, STOP, 1);
  if (Atomics.load(flags, BUSY) > 0) Atomics.wait(flags, BUSY, 1, PATIENCE_MS);
}

/** In the thread: runs a step, unless the process is about to end. Steps of a model run one after the other. */
export async function guarded<T>(flags: Int32Array<SharedArrayBuffer>, step: () => Promise<T>): Promise<T> {
  Atomics.store(flags, BUSY, 1);
  // Read after BUSY was set: either the program sees the step, or the step sees the program's end.
  if (Atomics.load(flags, STOP) > 0) {
    release(flags);
    return new Promise<T>(() => {});
  }
  try {
    return await step();
  } finally {
    release(flags);
  }
}

function release(flags: Int32Array<SharedArrayBuffer>): void {
  Atomics.store(flags, BUSY, 0);
  Atomics.notify(flags, BUSY);
}
