/**
 * @file The thread of a model where the library runs from its sources, as in its tests: TypeScript has to be read
 * there, too, unless the run of the tests has compiled it (`test/support/built.ts`).
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { KEYHOLD_BUILT: built } = process.env;
if (built) await import(pathToFileURL(join(built, 'src/worker/thread-node.js')).href);
else {
  const { register } = await import('tsx/esm/api');
  register();
  await import('./thread-node.ts');
}
