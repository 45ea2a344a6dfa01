import { expect, it } from 'vitest';
import { CASES, type ConfigJson, caseFolder, configJson, newConfigJson } from '../../test/support/family-cases.ts';
import { seeded } from '../../test/support/seeded.ts';
import { openCheckpointFolder } from '../checkpoint/open-node.ts';
import type { Checkpoint } from '../checkpoint/types.ts';
import { readConfig } from '../families/read-config.ts';
import { planModel } from '../load/plan.ts';
import { CheckpointError, ConfigError } from '../util/errors.ts';

const RUNS = 20_000;
const SEED = 20261124;
/** More than any plan needs: a graph's constants are a few kilobytes. */
const MOST_BYTES = 2 ** 25;

type Random = (below: number) => number;

const VALUES: readonly unknown[] = [
  ...[0, 1, 2, 3, 7, 31, 64, 97, 65_536, 2 ** 20, 2 ** 26, 2 ** 26 + 1, 2 ** 31, 2 ** 32, 2 ** 53, 1e12, 1e308],
  ...[
    -1,
    -4,
    0.1,
    0.375,
    0.5,
    1.5,
    -0,
    1e-45,
    '',
    '4',
    'NaN',
    'Infinity',
    'null',
    'gelu',
    'linear',
    'yarn',
    'longrope',
  ],
  ...[
    'llama3',
    'dynamic',
    'sliding_attention',
    '__proto__',
    'constructor',
    null,
    true,
    false,
    [],
    {},
    [0],
    [[]],
    [null],
  ],
  ...[{ a: 1 }, { rope_type: 'linear', factor: 2 }, { rope_type: 'yarn', factor: -1 }, { length: 3 }],
];
const KEYS = [
  '__proto__',
  'constructor',
  'toString',
  'model_type',
  'num_hidden_layers',
  'rope_scaling',
  'layer_types',
  '',
];

/** Changes one place of an object, at any depth. */
function mutate(json: ConfigJson, random: Random): void {
  const keys = Object.keys(json);
  const key = keys.length === 0 || random(20) === 0 ? KEYS[random(KEYS.length)] : keys[random(keys.length)];
  const value = json[key];
  if (typeof value === 'object' && value !== null && random(3) > 0) {
    mutate(value as ConfigJson, random);
    return;
  }
  const set = (next: unknown) => {
    Object.defineProperty(json, key, { value: next, enumerable: true, writable: true, configurable: true });
  };
  switch (random(6)) {
    case 0:
      delete json[key];
      break;
    case 1:
      // Another type.
      set([String(value), [value], { [key]: value }, Number(value), !value][random(5)]);
      break;
    case 2:
      // A number blown up, or off by a little.
      if (typeof value === 'number') set([value * 2 ** random(60), value + 1, value - 1, -value, value / 3][random(5)]);
      break;
    case 3:
      // Another key's value.
      set(json[keys[random(keys.length)]]);
      break;
    default:
      set(structuredClone(VALUES[random(VALUES.length)]));
  }
}

/** The case's tensors with another config.json beside them. */
async function checkpoints(): Promise<Map<string, Checkpoint>> {
  const opened = new Map<string, Checkpoint>();
  for (const name of CASES) {
    const checkpoint = await openCheckpointFolder(caseFolder(name));
    await checkpoint.close();
    opened.set(name, checkpoint);
  }
  return opened;
}

const FORMATS = ['auto', 'float32', 'int8', 'int4'] as const;

/** What came of it: a plan, or a refusal that says where. Anything else is thrown. */
function outcome(checkpoint: Checkpoint, random: Random): 'planned' | 'read' | 'refused' {
  try {
    readConfig(checkpoint.config, 'fuzz: config.json');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expect(error.message).toMatch(/^fuzz: config\.json: /);
    return 'refused';
  }
  try {
    const plan = planModel(checkpoint, random(8) === 0 ? FORMATS[random(FORMATS.length)] : 'float32');
    expect(plan.params.length).toBeGreaterThan(0);
    return 'planned';
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    return 'read';
  }
}

it(`reads or refuses ${RUNS} mutated configs, and does nothing else`, { timeout: 600_000 }, async () => {
  const opened = await checkpoints();
  const counts = { planned: 0, read: 0, refused: 0 };
  for (let run = 0; run < RUNS; run++) {
    // Each run by itself, so that one that fails can be repeated alone.
    const random = seeded(SEED + run);
    const name = CASES[random(CASES.length)];
    const config = random(3) === 0 ? newConfigJson(name) : configJson(name);
    for (let edits = 1 + random(3); edits > 0; edits--) mutate(config, random);
    const before = process.memoryUsage().arrayBuffers;
    try {
      counts[outcome({ ...opened.get(name)!, name: 'fuzz', config }, random)]++;
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(MOST_BYTES);
    } catch (cause) {
      throw new Error(`run ${run}, made of ${name}: ${JSON.stringify(config)}`, { cause });
    }
  }
  // All outcomes must occur often, or the mutations test nothing.
  expect(counts.planned).toBeGreaterThan(2_000);
  expect(counts.read).toBeGreaterThan(500);
  expect(counts.refused).toBeGreaterThan(5_000);
});
