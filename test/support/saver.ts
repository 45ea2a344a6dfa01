/**
 * @file A process of `npm run soak:snapshot`: saves two caches over the same file in turn, until it is killed, and
 * tells on stdout when each save begins and ends.
 *
 * It has no model, for that would take a second to load: only what saving asks of one.
 */
import { writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LanguageModel } from '../../src/engine/language-model.ts';
import { saveCache } from '../../src/engine/snapshot-node.ts';
import type { KVCache } from '../../src/kvcache/kv-cache.ts';
import type { CacheShape } from '../../src/kvcache/shape.ts';
import { restoreCache, snapshotCache } from '../../src/kvcache/snapshot.ts';

const [folder, path, first] = process.argv.slice(2);
const { shape, fingerprint } = JSON.parse(await readFile(join(folder, 'shape.json'), 'utf8')) as {
  shape: CacheShape;
  fingerprint: string;
};
const model = { snapshot: (cache: KVCache) => snapshotCache(cache, fingerprint) } as LanguageModel;
const caches: KVCache[] = [];
for (const name of ['even', 'odd'])
  caches.push(await restoreCache(await readFile(join(folder, `${name}.source`)), shape, fingerprint));
for (let n = Number(first); ; n++) {
  writeSync(1, `begin ${n}\n`);
  await saveCache(model, caches[n % 2], path);
  writeSync(1, `end ${n}\n`);
}
