/**
 * @file `keyhold doctor`: versions, processor, engines and caches: what a report of a problem should have.
 */
import { createRequire } from 'node:module';
import { cpus, totalmem } from 'node:os';
import type { Command } from 'commander';
import { KeyholdError } from '../../util/errors.ts';
import { usableCores, usableMemory } from '../../util/machine-node.ts';
import { oneLine } from '../failure.ts';
import { addExamples } from '../help.ts';
import { type CliIo, write } from '../io.ts';
import { listCaches } from '../models/disk-caches.ts';
import { bytes, counted } from '../output/format.ts';
import { styleOf } from '../output/style.ts';

/** What can run a model. */
interface EngineState {
  readonly name: string;
  readonly version: string | null;
  /** Why it can't be used; null where it can. */
  readonly problem: string | null;
  /** Instructions of the processor that it uses. */
  readonly features?: readonly string[];
  /** GPUs that it can compute on. */
  readonly devices?: readonly DeviceState[];
  /** Why other kinds of devices can't be used. */
  readonly deviceProblems?: readonly string[];
}

/** A GPU. */
interface DeviceState {
  readonly kind: string;
  readonly name: string;
  readonly description: string;
  readonly memory: { readonly free: number; readonly total: number };
}

export function addDoctor(program: Command, io: CliIo, version: string): void {
  const command = program
    .command('doctor')
    .summary('show versions, processor, engines and caches')
    .description(
      'Shows what a report of a problem should have: versions, processor, memory, engines, caches and settings.',
    )
    .option('--json', 'print one JSON object')
    .action((flags: { readonly json?: boolean }) => doctor(flags.json === true, version, io));
  addExamples(command, [['for a report of a problem', 'keyhold doctor']]);
}

/** Environment variables that change what Keyhold does. The token's value is not shown. */
const VARIABLES = [
  'KEYHOLD_CACHE',
  'KEYHOLD_ENGINE',
  'KEYHOLD_DEVICE',
  'KEYHOLD_GPU_PACKAGES',
  'HF_HOME',
  'HF_HUB_CACHE',
  'HF_ENDPOINT',
  'HF_HUB_OFFLINE',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
];

async function doctor(json: boolean, version: string, io: CliIo): Promise<void> {
  const { hubFolder, weightsFolder, entries, problem } = await cachesOf(io);
  const sizeOf = (kind: string) => entries.filter((e) => e.kind === kind).reduce((sum, e) => sum + e.bytes, 0);
  const env = { ...process.env, ...io.env };
  const facts = {
    keyhold: version,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    threads: usableCores(),
    memory: { total: totalmem(), free: usableMemory() },
    engines: [await ggmlState(), await onnxState()],
    caches: {
      downloads: { folder: hubFolder, bytes: sizeOf('download') },
      weights: { folder: weightsFolder, bytes: sizeOf('weights') },
      ...(problem === null ? {} : { problem }),
    },
    environment: Object.fromEntries([
      ...VARIABLES.flatMap((name) => (env[name] ? [[name, withoutPassword(env[name])]] : [])),
      ...(env['HF_TOKEN'] ? [['HF_TOKEN', 'set']] : []),
    ]) as Record<string, string>,
  };
  if (json) return write(io, `${JSON.stringify(facts)}\n`);
  const { dim, green, yellow } = styleOf(io.stdout, io.env);
  const row = (label: string, text: string) => `${dim(label.padEnd(18))}${text}`;
  const engine = ({ version: v, problem, features }: EngineState) =>
    problem === null
      ? `${green('works')}, version ${v}${features?.length ? dim(` (${features.join(', ')})`) : ''}`
      : `${yellow('not available')}: ${oneLine(problem)}`;
  const lines = [
    row('keyhold', facts.keyhold),
    row('node', `${facts.node}, ${facts.platform}`),
    row('processor', `${facts.processor}, ${counted(facts.threads, 'thread')}`),
    row('memory', `${bytes(facts.memory.total)}, ${bytes(facts.memory.free)} free`),
    ...facts.engines.map((state) => row(`engine ${state.name}`, engine(state))),
    ...facts.engines.flatMap(({ devices = [], deviceProblems = [] }) => [
      ...devices.map(({ kind, name, description, memory }) =>
        row(`device ${kind}`, `${name}: ${description}, ${bytes(memory.total)}, ${bytes(memory.free)} free`),
      ),
      ...deviceProblems.map((problem) => row('no device', oneLine(problem))),
    ]),
    ...(problem === null
      ? [
          row('downloads', `${bytes(facts.caches.downloads.bytes)} in ${hubFolder}`),
          row('prepared weights', `${bytes(facts.caches.weights.bytes)} in ${weightsFolder}`),
        ]
      : [row('caches', `${yellow('not available')}: ${oneLine(problem)}`)]),
    ...Object.entries(facts.environment).map(([name, value]) => row(name, value)),
  ];
  await write(io, `${lines.join('\n')}\n`);
}

/** The caches, or why there are none: a report of that is what the command is for. */
async function cachesOf(io: CliIo) {
  try {
    return { ...(await listCaches(io)), problem: null };
  } catch (error) {
    if (!(error instanceof KeyholdError)) throw error;
    return { hubFolder: null, weightsFolder: null, entries: [], problem: error.message };
  }
}

async function ggmlState(): Promise<EngineState> {
  try {
    const [{ openGgml }, { GGML_VERSION }, { listDevices }] = await Promise.all([
      import('../../backends/ggml/binding/binding.ts'),
      import('../../backends/ggml/binding/platform.ts'),
      import('../../backends/ggml/devices/devices.ts'),
    ]);
    const ggml = openGgml();
    const { devices, problems } = listDevices(ggml);
    return {
      name: 'ggml',
      version: GGML_VERSION,
      problem: null,
      features: ggml.features,
      devices: devices.map(({ kind, name, description, memory }) => ({ kind, name, description, memory })),
      deviceProblems: problems,
    };
  } catch (error) {
    return { name: 'ggml', version: null, problem: (error as Error).message };
  }
}

async function onnxState(): Promise<EngineState> {
  try {
    await import('../../backends/onnx/onnxruntime-node.ts');
    const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
    return { name: 'onnx', version, problem: null };
  } catch (error) {
    return { name: 'onnx', version: null, problem: (error as Error).message };
  }
}

/** An address without the name and password that proxies may have in it. */
function withoutPassword(text: string): string {
  return text.replace(/\/\/[^/@]*@/, '//…@');
}
