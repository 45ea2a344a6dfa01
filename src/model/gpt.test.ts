import { describe, expect, it } from 'vitest';
import { checkGraph, preparedFor } from '../../test/support/check-graph.ts';
import { CASES, configJson } from '../../test/support/family-cases.ts';
import { type Config, isEncoder } from '../config/config.ts';
import { readConfig } from '../families/read-config.ts';
import { BUFFERS, type BufferKind, createBuffer } from '../kvcache/buffers.ts';
import type { WeightFormat } from '../weights/types.ts';
import { buildEncoder, encoderOutputs } from './encoder.ts';
import { buildStep, type StepGraph, type StepGraphOptions } from './gpt.ts';
import { buildAttach } from './mixers/cross-attention.ts';

const FORMATS: readonly WeightFormat[] = ['float32', 'int8', 'int4'];
const PLAIN: StepGraphOptions = { format: 'float32', classes: 'kind', buffer: 'float32', sums: false, moments: false };
/** What a cache may want to see, and which layers share their positions. */
const VARIANTS = (['kind', 'layer'] as const).flatMap((classes) =>
  [
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ].map(([sums, moments]) => ({ ...PLAIN, classes, sums, moments })),
);
/** Every format of the weights with each of them, and every storage of a cache. */
const OPTIONS: readonly StepGraphOptions[] = [
  ...FORMATS.flatMap((format) => VARIANTS.map((variant) => ({ ...variant, format }))),
  ...(Object.keys(BUFFERS) as BufferKind[])
    .filter((buffer) => buffer !== PLAIN.buffer)
    .flatMap((buffer) => [
      { ...PLAIN, buffer },
      { ...PLAIN, buffer, classes: 'layer' as const, sums: true },
    ]),
];

function decoded(options: StepGraphOptions, graph: StepGraph) {
  const weights = preparedFor(graph);
  const found = checkGraph(graph.serialise(weights));
  const places = new Set([...weights.params.values()].map(({ offset, length }) => `${offset}+${length}`));
  for (const [name, { offset, length }] of found.externals) expect(places, name).toContain(`${offset}+${length}`);
  // Every byte of the weights is read by some node: checkGraph refuses initializers that are not.
  const read = new Set([...found.externals.values()].map(({ offset, length }) => `${offset}+${length}`));
  expect(read).toEqual(places);
  const names = new Set(graph.classes.filter((name) => name !== ''));
  expect(found.outputs.filter((name) => name.startsWith('sums.')).length).toBe(options.sums ? names.size : 0);
  expect(found.outputs.filter((name) => name.startsWith('moments.')).length).toBe(options.moments ? 2 : 0);
  expect(found.outputs).toEqual(expect.arrayContaining(['logits', 'present']));
  for (let l = 0; l < graph.config.nLayer; l++)
    for (const input of createBuffer(options.buffer, 1, 1, graph.config.headSize).inputs)
      expect(found.inputs.includes(`${input.name}.${l}`)).toBe(graph.classes[l] !== '');
  for (const name of names) expect(found.inputs).toContain(`slots.${name}`);
  expect(found.nodes).toBe(graph.nodeCount);
  return found;
}

const configOf = (name: string): Config => readConfig(configJson(name)).config;

describe('a step’s graph is well formed', () => {
  it.each(CASES.filter((name) => !isEncoder(configOf(name))))('%s', (name) => {
    const config = configOf(name);
    for (const options of OPTIONS)
      if (options.buffer !== 'int4' || config.headSize % 2 === 0) decoded(options, buildStep(config, options));
    if (!config.cross) return;
    const [step, attach] = [buildStep(config, { ...PLAIN, cross: true }), buildAttach(config, 'float32')];
    expect(decoded(PLAIN, step).inputs).toContain('cross.bias');
    expect(checkGraph(attach.serialise(preparedFor(attach))).outputs).toEqual(['attached']);
  });
});

describe('an encoder’s graph is well formed', () => {
  it.each(CASES.filter((name) => isEncoder(configOf(name))))('%s', (name) => {
    const config = configOf(name);
    for (const format of FORMATS)
      for (const output of encoderOutputs(config)) {
        const graph = buildEncoder(config, format, output);
        const found = checkGraph(graph.serialise(preparedFor(graph)));
        expect(found.outputs).toEqual(['encoded']);
        expect(found.nodes).toBe(graph.nodeCount);
      }
  });
});

describe('a step’s graph', () => {
  const { config } = readConfig(configJson('llama'));
  const build = (own: Partial<StepGraphOptions> = {}) => buildStep(config, { ...PLAIN, ...own });

  it('is the same whenever it is traced', () => {
    const [one, two] = [build(), build()];
    expect(Buffer.from(one.serialise(preparedFor(one))).equals(two.serialise(preparedFor(two)))).toBe(true);
  });

  it('reads the same weights whatever it outputs besides', () => {
    const names = (graph: StepGraph) => graph.params.map(({ name, shape, format }) => `${name} ${format} ${shape}`);
    for (const format of FORMATS)
      for (const options of OPTIONS) expect(names(build({ ...options, format }))).toEqual(names(build({ format })));
  });

  it('has one class of layers, or as many as layers, or one for windows', () => {
    expect(build().classes).toEqual(['full', 'full']);
    expect(build({ classes: 'layer' }).classes).toEqual(['0', '1']);
    const gemma = buildStep(readConfig(configJson('gemma3')).config, PLAIN);
    expect(gemma.classes).toEqual(['window', 'window', 'full', 'window', 'window', 'full']);
  });
});
