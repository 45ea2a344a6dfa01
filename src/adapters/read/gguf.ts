/**
 * @file LoRA as llama.cpp has it: one GGUF file, whose tensors are named after those of the base's GGUF.
 */
import { FUSED, type GgufLayout, LAYOUTS, MODULES } from '../../checkpoint/gguf/layouts.ts';
import type { Metadata } from '../../checkpoint/gguf/metadata.ts';
import { AdapterError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import type { BaseModel, BasePart } from '../base-model.ts';
import type { Adapter, PartChange } from '../types.ts';
import { type AdapterFiles, AdapterTensors, type OpenAdapter, openTensors } from './adapter-files.ts';
import { takeRows } from './peft.ts';

/** A name in the file: layer, module, and which factor it is. */
const LORA = /^(?:blk\.(\d+)\.)?(.+)\.weight\.lora_([ab])$/;

/**
 * @param file its name within `files`.
 * @throws AdapterError for a file that is no LoRA; CheckpointError for one that is damaged.
 */
export async function openGgufAdapter(files: AdapterFiles, file: string): Promise<OpenAdapter> {
  const source = await files.open(file);
  if (!source) throw new AdapterError(`${files.name}: there is no ${file}`);
  return openTensors(source, async () => {
    const { tensors, metadata } = await AdapterTensors.openGguf(files.name, source);
    const type = metadata.textOrNull('general.type');
    if (type !== 'adapter') throw tensors.fail(`is ${type ?? 'a file'} of GGUF, not an adapter (general.type)`);
    const kind = metadata.text('adapter.type');
    if (kind !== 'lora') throw tensors.fail(`is an adapter of type ${JSON.stringify(kind)}; only lora is supported`);
    return { tensors, readFor: (base) => readGguf(tensors, metadata, base) };
  });
}

async function readGguf(tensors: AdapterTensors, metadata: Metadata, base: BaseModel): Promise<Adapter> {
  const layout = Object.hasOwn(LAYOUTS, base.config.name) ? LAYOUTS[base.config.name] : undefined;
  const architecture = metadata.text('general.architecture');
  if (!layout)
    throw tensors.fail(`${base.label} is of a family for which adapters in GGUF are not read; use one of PEFT`);
  if (architecture !== layout.architecture && architecture !== layout.mixture)
    throw tensors.fail(`was made for ${architecture}, but ${base.label} is ${layout.architecture} in GGUF`);
  const alpha = metadata.floatOrNull('adapter.lora.alpha') ?? 0;
  const parts = new Map<string, PartChange>();
  for (const key of tensors.names) {
    const [, layer, module, factor] = LORA.exec(key) ?? [];
    if (factor !== 'a') continue; // the second is read with the first, and others are left over
    const a = await tensors.matrix(key);
    const b = await tensors.matrix(key.replace(/a$/, 'b'));
    const targets = targetsOf(base, layout, layer, module);
    const height = targets.reduce((sum, { rows }) => sum + rows, 0);
    const wrong = targets.find(({ cols }) => cols !== a.cols);
    if (targets.length === 0)
      throw tensors.fail(`it changes ${key.replace(/\.lora_a$/, '')}, which is not supported, or not in ${base.label}`);
    if (wrong || b.rows !== height || b.cols !== a.rows)
      throw tensors.fail(
        `the factors of ${key.replace(/\.lora_a$/, '')} have shapes [${a.rows},${a.cols}] and [${b.rows},${b.cols}], but in ` +
          `${base.label} it is [${height},${targets[0].cols}]`,
      );
    const scale = alpha === 0 ? 1 : alpha / a.rows;
    let start = 0;
    for (const { name, rows } of targets) {
      const order = layout.rotated ? rotatedRows(base, name, rows) : null;
      const first = start;
      const own = range(rows).map((row) => first + (order ? order(row) : row));
      parts.set(name, { lowRank: { a, b: takeRows(b, own, scale) } });
      start += rows;
    }
  }
  tensors.checkLeftovers('They are not of LoRA.');
  const { name, identity } = tensors;
  return { name, identity, parts, vectors: new Map(), prefixes: new Map(), close: () => tensors.close() };
}

/** The parts of the model that a tensor of GGUF holds, one below the other; none for what it has not. */
function targetsOf(base: BaseModel, layout: GgufLayout, layer: string | undefined, module: string): BasePart[] {
  const fused = [...(layout.fusedQkv ? [FUSED.qkv] : []), ...(layout.fusedGateUp ? [FUSED.gateUp] : [])];
  const names = fused.find(({ to }) => to === module)?.parts ?? [module];
  const found = names.map((name) => {
    // The embedding's factors are those of its transpose, and experts are matrices of three axes.
    const modules = Object.entries({ ...MODULES, ...layout.names });
    const candidates = modules.filter(([, to]) => to === name).map(([own]) => own);
    const parts = candidates.map((own) => base.parts.get(layer === undefined ? own : `h.${layer}.${own}`));
    return parts.find((part) => part !== undefined && !part.embedding);
  });
  return found.every((part) => part !== undefined) ? found : [];
}

/** Of queries and keys: where in the file a row is whose rotation is interleaved there. */
function rotatedRows(base: BaseModel, part: string, rows: number): ((row: number) => number) | null {
  const [, layer, which] = /^h\.(\d+)\.attn\.([qk])$/.exec(part) ?? [];
  if (which === undefined) return null;
  const { mixer } = base.config.layers[Number(layer)];
  if (mixer?.kind !== 'self-attention') return null;
  const size = rows / (which === 'q' ? mixer.heads : mixer.groups);
  return (row) => {
    const inHead = row % size;
    return row - inHead + (inHead < size / 2 ? 2 * inHead : 2 * (inHead - size / 2) + 1);
  };
}
