/**
 * @file ONNX Runtime's files in a page: they are fetched while a model is loaded, and an error says what is wrong with
 * them.
 */
import { EngineError } from '../../util/errors.ts';
import { GraphBuilder } from './builder.ts';

/** The graph of one copy: making a session of it fetches and starts the engine. */
export function startGraph(): Uint8Array {
  const graph = new GraphBuilder();
  graph.output(graph.input('x', 'float32', [1]), 'y');
  return graph.serialize(() => ({ location: '', offset: 0, length: 0 }));
}

/** What ONNX Runtime says where its files can't be used. */
const NOT_STARTED = /no available backend found/;

/**
 * Runs what may start the engine. ONNX Runtime's own message names neither the file nor what its server answered.
 * @param folder URL of the folder with its files, with a slash at its end.
 * @param name of the build, without the ends of its files.
 * @throws EngineError where the engine can't be started; other errors as they are.
 */
export async function starting<T>(folder: string, name: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    if (!NOT_STARTED.test(message)) throw cause;
    const wrong =
      (await wrongFile(`${folder}${name}.mjs`, /javascript/)) ??
      (await wrongFile(`${folder}${name}.wasm`, /(?<!html)$/));
    const hint = wrong
      ? `; the option runtimeFiles is the URL of a folder with ${name}.mjs and ${name}.wasm, which the package ` +
        'onnxruntime-web has in its folder dist'
      : /content security policy/i.test(message)
        ? "; the page's content security policy needs script-src 'wasm-unsafe-eval'"
        : '; its files must be those of the version of onnxruntime-web that the page was built with';
    throw new EngineError(`ONNX Runtime can't be started: ${wrong ?? message}${hint}`, { cause });
  }
}

/** What is wrong with a file; null: nothing that is seen from its address and type. */
async function wrongFile(url: string, type: RegExp): Promise<string | null> {
  const response = await fetch(url).catch(() => null);
  if (!response) return `${url} can't be fetched`;
  await response.body?.cancel();
  if (!response.ok) return `${url}: the server answered ${response.status}`;
  const given = (response.headers.get('content-type') ?? '').replace(/;.*/, '');
  return type.test(given) ? null : `${url} comes as ${given || 'a file without a type'}`;
}
