/**
 * @file A checkpoint that is quantized already, as one of plain tensors: its rows are dequantized when they are read.
 */
import { CheckpointError } from '../../util/errors.ts';
import { isObject } from '../../util/json/is-object.ts';
import { show } from '../../util/json/show.ts';
import type { Checkpoint, StoredTensor } from '../types.ts';
import { awq } from './awq.ts';
import { bitsAndBytes } from './bitsandbytes.ts';
import { compressedTensors } from './compressed-tensors.ts';
import { mxfp4Experts } from './fp4.ts';
import { fp8, modelopt, quark } from './fp8.ts';
import { gptq, gptqMethod } from './gptq.ts';
import { hqq } from './hqq.ts';
import { isQuantized, statedSettings } from './is-quantized.ts';
import { type Method, type QuantizedModule, QuantSettings } from './method.ts';
import { mlx } from './mlx.ts';
import { quantizedNote } from './note.ts';
import { plainConfig } from './plain-config.ts';
import { withSettingsFile } from './settings-file.ts';
import { torchao } from './torchao.ts';

/** The values of quant_method. */
const METHODS: Readonly<Record<string, (settings: QuantSettings) => Method>> = {
  gptq,
  awq: (settings) => awq(settings),
  'compressed-tensors': compressedTensors,
  fp8,
  fbgemm_fp8: fp8,
  modelopt,
  quark,
  bitsandbytes: bitsAndBytes,
  mxfp4: mxfp4Experts,
  hqq,
  torchao,
  'auto-round': autoRound,
  'intel/auto-round': autoRound,
  mlx,
};

/** ggml's formats that hold some of these exactly. */
const KEPT: ReadonlySet<string> = new Set(['q4_0', 'mxfp4']);

/** AutoRound exports in the layouts of others. */
function autoRound(settings: QuantSettings): Method {
  const packing = settings.text('packing_format', 'auto_round:auto_gptq');
  if (packing.includes('awq')) return awq(settings, 'AutoRound');
  if (packing === 'auto_round:auto_gptq') return gptqMethod(settings, 1, 'AutoRound');
  if (packing === 'auto_round' || packing === 'auto_round:gptqmodel') return gptqMethod(settings, 0, 'AutoRound');
  if (packing === 'auto_round:llm_compressor') return compressedTensors(settings);
  if (packing === 'auto_round:fp8' || packing === 'auto_round:fp8_static') return fp8(settings);
  throw settings.fail(
    'packing_format',
    'must be one of auto_round, auto_round:auto_gptq, auto_round:auto_awq, auto_round:fp8',
  );
}

/**
 * The checkpoint itself where neither its config.json nor a file beside it says anything of quantizing; else the same
 * with plain tensors, and without the settings in its config.
 *
 * @throws CheckpointError for a method or a layout that is not read, and for tensors that do not fit each other.
 */
export async function readQuantized(original: Checkpoint): Promise<Checkpoint> {
  const checkpoint = isQuantized(original.config) ? original : await withSettingsFile(original);
  const settings = settingsOf(checkpoint);
  if (settings === null) return checkpoint;
  const name = settings.text('quant_method');
  const build = Object.hasOwn(METHODS, name) ? METHODS[name] : undefined;
  if (!build)
    throw new CheckpointError(
      `${checkpoint.name}: the weights are quantized by ${show(name)}, which is not read; known are ` +
        `${Object.keys(METHODS).join(', ')}. Use the original weights.`,
    );
  const method = build(settings);
  const tensors = await plainTensors(checkpoint, method);
  const asBlocks = [...tensors.values()].find(({ blocks }) => KEPT.has(blocks?.format ?? ''))?.blocks?.format;
  return { ...checkpoint, config: plainConfig(checkpoint.config), tensors, note: quantizedNote(method.name, asBlocks) };
}

function settingsOf({ config, name }: Checkpoint): QuantSettings | null {
  if (!isQuantized(config)) return null;
  const { usual, own } = statedSettings(config);
  const found =
    isObject(usual) && 'quant_method' in usual
      ? usual
      : { quant_method: 'mlx', ...(isObject(own) ? own : (usual as object)) };
  return new QuantSettings(found, `${name}: config.json: quantization_config`);
}

/** Scales of keys and values, for caches of 8 bits: of the attention, or of the matrices that make them. */
const CACHE_SCALES = /\.([qkv]|kv|prob_output)_(scale|zero_point)$/;

async function plainTensors(checkpoint: Checkpoint, method: Method): Promise<Map<string, StoredTensor>> {
  const marked = method.marks.map((mark) => `.${mark}`);
  // Module by module: what ends with a mark has its module's other tensors beside it.
  const modules = new Map<string, Map<string, StoredTensor>>();
  for (const name of checkpoint.tensors.keys()) {
    const mark = marked.find((ending) => name.endsWith(ending));
    if (mark !== undefined) modules.set(name.slice(0, -mark.length), new Map());
  }
  const plain = new Map<string, StoredTensor>();
  for (const [name, tensor] of checkpoint.tensors) {
    const module = moduleOf(name, modules);
    if (CACHE_SCALES.test(name)) continue;
    if (module === null) plain.set(name, tensor);
    else modules.get(module)!.set(name.slice(module.length + 1), tensor);
  }
  for (const [name, parts] of modules) {
    const { tensors, used } = await method.read(moduleFor(checkpoint.name, name, parts));
    for (const tensor of tensors) plain.set(tensor.name, tensor);
    for (const [part, tensor] of parts) if (!used.includes(part)) plain.set(`${name}.${part}`, tensor);
  }
  return plain;
}

/** The module that a tensor belongs to: the longest part of its name that is one. */
function moduleOf(name: string, modules: ReadonlyMap<string, unknown>): string | null {
  for (let end = name.lastIndexOf('.'); end > 0; end = name.lastIndexOf('.', end - 1))
    if (modules.has(name.slice(0, end))) return name.slice(0, end);
  return null;
}

function moduleFor(where: string, name: string, parts: ReadonlyMap<string, StoredTensor>): QuantizedModule {
  const fail = (what: string) => new CheckpointError(`${where}: the module ${name} ${what}`);
  return {
    name,
    parts,
    get: (part) => parts.get(part),
    need(part) {
      const found = parts.get(part);
      if (!found) throw fail(`has no ${part}; it has ${[...parts.keys()].join(', ')}`);
      return found;
    },
    fail,
  };
}
