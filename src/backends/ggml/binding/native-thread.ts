/**
 * @file Runs a function of a shared library on a thread of the system's, which can be waited for without the event loop.
 */
import type { Pointer } from './functions.ts';
import type { KoffiModule } from './ggml.ts';

/**
 * Calls a C function that takes a text.
 * @returns waits for its end, which may be done any number of times; null: the system gave no such thread, and nothing
 * was called.
 */
export function startThread(koffi: KoffiModule, run: Pointer, text: string): (() => void) | null {
  if (process.platform === 'win32') return null;
  // Node itself has them, whichever library they come from.
  const program = koffi.load(null);
  const create = program.func('pthread_create', 'int', ['void *', 'void *', 'void *', 'void *']);
  const wait = program.func('pthread_join', 'int', ['uintptr_t', 'void *']);
  const id = new BigUint64Array(1);
  let argument: Uint8Array | null = new TextEncoder().encode(`${text}\0`);
  if (create(id, null, run, koffi.address(argument)) !== 0) return null;
  const join = () => {
    if (argument) wait(id[0], null);
    argument = null;
    process.off('exit', join);
  };
  // What the end of the process tears down must not be in use.
  process.on('exit', join);
  return join;
}
