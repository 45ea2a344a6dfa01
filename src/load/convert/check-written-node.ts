/**
 * @file What was written to GGUF is read back as the same model, before the file gets its name.
 */
import { basename, dirname } from 'node:path';
import { buildGgufCheckpoint } from '../../checkpoint/gguf/checkpoint.ts';
import { folderFiles } from '../../checkpoint/open-node.ts';
import type { Config } from '../../config/config.ts';
import { ropeFrequencies } from '../../step/rope.ts';
import { ConfigError } from '../../util/errors.ts';
import { planModel } from '../plan.ts';

/** Numbers are stored as float32. */
const TOLERANCE = 1e-6;
/** What files name otherwise, or do not hold, and what is compared by what it computes. */
const LEFT_OUT = new Set(['name', 'bosTokenId', 'eosTokenIds', 'suppressedTokens', 'ropes', 'rope']);

/**
 * @param path of the file, which need not end with .gguf yet.
 * @throws ConfigError where the file is read as another model than was written: it can't hold all of this one.
 */
export async function checkReadsBack(path: string, name: string, config: Config): Promise<void> {
  const checkpoint = await buildGgufCheckpoint(folderFiles(dirname(path), name), basename(path));
  try {
    const read = planModel(checkpoint, 'float32').config;
    const difference = differenceOf(comparable(config), comparable(read), '') ?? ropeDifference(config, read);
    if (difference !== null) throw new ConfigError(`${name}: GGUF can't hold this model: ${difference}`);
  } finally {
    await checkpoint.close();
  }
}

/** A window that no token reaches is none. */
function comparable(config: Config): unknown {
  const layers = config.layers.map((layer) => {
    const { mixer } = layer;
    const isUnreached = mixer && 'window' in mixer && mixer.window !== null && mixer.window >= config.contextLength;
    return isUnreached ? { ...layer, mixer: { ...mixer, window: null } } : layer;
  });
  return { ...config, layers };
}

/** The first difference, with its path; null where there is none. */
function differenceOf(own: unknown, read: unknown, path: string): string | null {
  if (typeof own === 'number' && typeof read === 'number') {
    const near = own === read || Math.abs(own - read) <= TOLERANCE * Math.max(Math.abs(own), Math.abs(read));
    return near ? null : `${path} is ${own}, and ${read} in the file`;
  }
  if (typeof own !== 'object' || typeof read !== 'object' || own === null || read === null)
    return own === read ? null : `${path} is ${JSON.stringify(own)}, and ${JSON.stringify(read)} in the file`;
  const keys = new Set([...Object.keys(own), ...Object.keys(read)]);
  for (const key of keys) {
    if (LEFT_OUT.has(key)) continue;
    const at = Array.isArray(own) ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`;
    const found = differenceOf(Reflect.get(own, key), Reflect.get(read, key), at);
    if (found !== null) return found;
  }
  return null;
}

function ropeDifference(own: Config, read: Config): string | null {
  for (const [l, layer] of own.layers.entries()) {
    const [a, b] = [layer, read.layers[l]].map(({ rope }, i) => (rope === null ? null : [own, read][i].ropes[rope]));
    if (a === null && b === null) continue;
    if (!a || !b) return `layer ${l} rotates ${a ? '' : 'nothing'}, and ${b ? '' : 'nothing'} in the file`;
    if (a.interleave !== b.interleave || `${a.sections}` !== `${b.sections}`)
      return `layer ${l} rotates other pairs than in the file`;
    for (const length of [1, own.contextLength]) {
      const [wanted, found] = [ropeFrequencies(a, length), ropeFrequencies(b, length)];
      const off = wanted.inverse.findIndex((value, i) => Math.abs(value - found.inverse[i]) > 1e-5 * Math.abs(value));
      if (off >= 0 || wanted.inverse.length !== found.inverse.length)
        return `layer ${l} rotates with other frequencies than in the file`;
      if (Math.abs(wanted.scale - found.scale) > 1e-5) return `layer ${l} scales its rotation otherwise than the file`;
    }
  }
  return null;
}
