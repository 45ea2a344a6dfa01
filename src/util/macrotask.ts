/**
 * @file A turn of the event loop, in Node and in browsers.
 */

/** Lets timers, signals and readers have their turn. In browsers setTimeout would wait 4 ms. */
export function macrotask(): Promise<void> {
  const immediate = (globalThis as { setImmediate?: (run: () => void) => unknown }).setImmediate;
  if (immediate) return new Promise((resolve) => immediate(resolve));
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
