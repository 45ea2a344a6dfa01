import { describe, expect, it } from 'vitest';
import { ALL_NAMES } from '../../test/support/all-names.ts';
import { checkLowered, preparedFor } from '../../test/support/check-graph.ts';
import { CASES, configJson, firstSlots } from '../../test/support/family-cases.ts';
import { onnxTarget } from '../backends/onnx/target.ts';
import { type Config, isEncoder, slotLayers } from '../config/config.ts';
import { slotSpec } from '../config/layer-spec.ts';
import { readConfig } from '../families/read-config.ts';
import { BUFFERS, type BufferKind, createBuffer } from '../kvcache/buffers.ts';
import type { OpGraph } from '../ops/graph.ts';
import { GraphError } from '../util/errors.ts';
import type { WeightFormat } from '../weights/types.ts';
import type { ModelDefinition } from './context.ts';
import { encoderOutputs, traceEncoder } from './encoder.ts';
import { FURTHER } from './further.ts';
import { type StepGraphOptions, traceStep } from './gpt.ts';
import { crossSpec, traceCrossStates } from './mixers/cross-attention.ts';
import { hasFurtherParts } from './parts.ts';

/** Options of a step, and the format of its weights. */
type Traced = StepGraphOptions & { readonly format: WeightFormat };

const FORMATS: readonly WeightFormat[] = ['float32', 'int8', 'int4'];
const PLAIN: Traced = {
  format: 'float32',
  sharing: 'by-window',
  buffer: 'float32',
  sums: null,
  moments: false,
};
/** What a cache may want to see, and which layers share their positions. */
const VARIANTS = (['by-window', 'none'] as const).flatMap((sharing) =>
  [
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ].map(([isSummed, moments]) => ({ ...PLAIN, sharing, sums: isSummed ? ALL_NAMES : null, moments })),
);
/** Every format of the weights with each of them, and every storage of a cache. */
const OPTIONS: readonly Traced[] = [
  ...FORMATS.flatMap((format) => VARIANTS.map((variant) => ({ ...variant, format }))),
  ...(Object.keys(BUFFERS) as BufferKind[])
    .filter((buffer) => buffer !== PLAIN.buffer)
    .flatMap((buffer) => [
      { ...PLAIN, buffer },
      { ...PLAIN, buffer, sharing: 'none' as const, sums: ALL_NAMES },
      { ...PLAIN, buffer, sharing: 'none' as const, maxima: true },
    ]),
];

const definition = (config: Config, format: WeightFormat = 'float32'): ModelDefinition => ({
  ...{ config, format },
  parts: FURTHER,
});

const stepOf = (config: Config, own: Partial<Traced> = {}): OpGraph =>
  traceStep(definition(config, own.format), { ...PLAIN, ...own }, onnxTarget).graph;

/** The layer group of each layer with slots. */
const groupsOf = ({ nodes }: OpGraph): string[] =>
  nodes.flatMap((node) => (node.op === 'attend' ? [node.attributes.layerGroup] : []));

function decoded(config: Config, options: Traced, graph: OpGraph) {
  const { found, nodeCount } = checkLowered(graph);
  const weights = preparedFor(graph);
  const locations = new Set([...weights.params.values()].map(({ offset, length }) => `${offset}+${length}`));
  for (const [name, { offset, length }] of found.externals) expect(locations, name).toContain(`${offset}+${length}`);
  // Every byte of the weights is read by some node: checkGraph refuses initializers that are not.
  const read = new Set([...found.externals.values()].map(({ offset, length }) => `${offset}+${length}`));
  expect(read).toEqual(locations);
  const names = new Set(groupsOf(graph));
  expect(found.outputs.filter((name) => name.startsWith('sum.')).length).toBe(options.sums ? names.size : 0);
  expect(found.outputs.filter((name) => name.startsWith('max.')).length).toBe(options.maxima ? names.size : 0);
  expect(found.outputs.filter((name) => name.startsWith('moments.')).length).toBe(
    options.moments ? 2 * slotLayers(config).length : 0,
  );
  expect(found.outputs).toEqual(expect.arrayContaining(['logits']));
  for (const [l, { mixer }] of config.layers.entries())
    for (const input of createBuffer(options.buffer, 1, {
      groups: 1,
      keySize: firstSlots(config).keySize,
      valueSize: firstSlots(config).keySize,
    }).inputs)
      expect(found.inputs.includes(`${input.name}.${l}`)).toBe(slotSpec(mixer) !== null);
  for (const [l, { mixer }] of config.layers.entries())
    for (const kind of ['keys', 'values'])
      expect(found.outputs.includes(`${kind}.${l}`)).toBe(slotSpec(mixer) !== null);
  for (const name of names) expect(found.inputs).toContain(`slots.${name}`);
  expect(found.nodes).toBe(nodeCount);
  return found;
}

const configOf = (name: string): Config => readConfig(configJson(name)).config;

describe('a step’s graph is well formed', () => {
  it.each(CASES.filter((name) => !isEncoder(configOf(name))))('%s', (name) => {
    const config = configOf(name);
    for (const options of OPTIONS)
      if (!/^int[45]/.test(String(options.buffer)) || firstSlots(config).keySize % 2 === 0)
        decoded(config, options, stepOf(config, options));
    if (!crossSpec(config)) return;
    expect(decoded(config, PLAIN, stepOf(config, { cross: true })).inputs).toContain('cross.bias');
    expect(checkLowered(traceCrossStates(definition(config), onnxTarget)).found.outputs).toEqual(['crossStates']);
  });
});

it('a model is traced without further.ts if, and only if, it has none of its parts', () => {
  for (const name of CASES) {
    const config = configOf(name);
    const model = { ...definition(config), parts: null };
    const trace = () =>
      isEncoder(config) ? traceEncoder(model, config.output, onnxTarget) : traceStep(model, PLAIN, onnxTarget);
    if (hasFurtherParts(config)) expect(trace, name).toThrow(GraphError);
    else expect(trace, name).not.toThrow();
  }
});

describe('an encoder’s graph is well formed', () => {
  it.each(CASES.filter((name) => isEncoder(configOf(name))))('%s', (name) => {
    const config = configOf(name);
    for (const format of FORMATS)
      for (const output of encoderOutputs(config)) {
        const { found, nodeCount } = checkLowered(traceEncoder(definition(config, format), output, onnxTarget));
        expect(found.outputs).toEqual(['encoded']);
        expect(found.nodes).toBe(nodeCount);
      }
  });
});

describe('a step’s graph', () => {
  const { config } = readConfig(configJson('llama'));
  const build = (own: Partial<Traced> = {}) => stepOf(config, own);

  it('is the same whenever it is traced', () => {
    const [one, two] = [build(), build()];
    expect(Buffer.from(checkLowered(one).bytes).equals(checkLowered(two).bytes)).toBe(true);
  });

  it('reads the same weights whatever it outputs besides', () => {
    const names = (graph: OpGraph) =>
      [...graph.params.values()].map(({ name, shape, format }) => `${name} ${format} ${shape}`);
    for (const format of FORMATS)
      for (const options of OPTIONS) expect(names(build({ ...options, format }))).toEqual(names(build({ format })));
  });

  it('has one class of layers, or as many as layers, or one for windows', () => {
    expect(groupsOf(build())).toEqual(['full', 'full']);
    expect(groupsOf(build({ sharing: 'none' }))).toEqual(['0', '1']);
    const gemma = stepOf(readConfig(configJson('gemma3')).config);
    expect(groupsOf(gemma)).toEqual(['window.8', 'window.8', 'full', 'window.8', 'window.8', 'full']);
  });
});
