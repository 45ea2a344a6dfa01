/**
 * @file Which files of a repository are worth downloading.
 */
import { noConfig, noSafetensors } from '../checkpoint/checkpoint.ts';
import { ggufFiles, ggufModels } from '../checkpoint/gguf/shards.ts';
import { MODEL_FILES, QUANT_FILES, TRANSFORMER_FOLDER } from '../checkpoint/model-files.ts';
import { SHARD_INDEX_FILE } from '../checkpoint/shard-index.ts';
import { HubError } from '../util/errors.ts';
import { pathFlaw } from '../util/files/relative-path.ts';
import { show } from '../util/json/show.ts';

/** A file as the hub lists it. */
export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of large files (64 hex digits), git's SHA-1 of the others (40): also the name in the cache. */
  readonly etag: string;
}

/** Small files that describe the model and its text, also for other programs; all but the first may be absent. */
const SMALL_FILES = [
  ...MODEL_FILES,
  'special_tokens_map.json',
  'modules.json',
  'sentence_bert_config.json',
  'config_sentence_transformers.json',
  ...Object.keys(QUANT_FILES),
];

/** What sentence-transformers puts after a model: see src/embed/modules.ts. */
const MODULE_FILES = /^\d+_(Pooling|Dense|LayerNorm|Normalize)\/(config\.json|model\.safetensors)$/;

/** A repository with more files than this is no model. */
const MAX_FILES = 100_000;

interface RawEntry {
  readonly type: string;
  readonly path: string;
  readonly size: number;
  readonly oid?: string;
  readonly lfs?: { readonly oid: string; readonly size: number };
}

/**
 * Collects a listing, and refuses what could write outside of the snapshot or can't be checked.
 *
 * @throws HubError naming the repository and the entry.
 */
export async function collectFiles(entries: AsyncIterable<unknown>, id: string): Promise<Map<string, HubFile>> {
  const files = new Map<string, HubFile>();
  for await (const entry of entries) {
    if (!isRawEntry(entry)) throw new HubError(`${id}: the server's list of files is malformed; is HF_ENDPOINT right?`);
    if (entry.type !== 'file') continue;
    const flaw = pathFlaw(entry.path);
    if (flaw !== undefined) {
      throw new HubError(`${id}: the server lists the file name ${show(entry.path, 200)}, which ${flaw}; refused`);
    }
    const etag = entry.lfs?.oid ?? entry.oid ?? '';
    const size = entry.lfs?.size ?? entry.size;
    if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(etag) || !Number.isSafeInteger(size) || size < 0) {
      throw new HubError(`${id}: the server gives no usable checksum or size of ${JSON.stringify(entry.path)}`);
    }
    files.set(entry.path, { path: entry.path, size, etag });
    if (files.size > MAX_FILES) throw new HubError(`${id}: lists more than ${MAX_FILES} files`);
  }
  return files;
}

function isRawEntry(value: unknown): value is RawEntry {
  if (typeof value !== 'object' || value === null) return false;
  const { type, path, size, oid, lfs } = value as Record<string, unknown>;
  if (typeof type !== 'string' || typeof path !== 'string') return false;
  if (type !== 'file') return true;
  if (typeof size !== 'number' || (oid !== undefined && typeof oid !== 'string')) return false;
  if (lfs === undefined || lfs === null) return true;
  return typeof lfs === 'object' && 'oid' in lfs && typeof lfs.oid === 'string' && 'size' in lfs;
}

/** What to download: files for sure, and perhaps an index that names further ones. */
export interface HubChoice {
  readonly files: readonly HubFile[];
  readonly index: HubFile | undefined;
}

/**
 * The files of a GGUF model.
 *
 * @param wanted a quantization, such as `Q4_K_M`, or the name of a file. @default Q4_K_M, or the only model there is
 * @throws HubError naming the models that there are.
 */
export function pickGgufFiles(
  listing: ReadonlyMap<string, HubFile>,
  wanted: string | undefined,
  id: string,
): HubFile[] {
  const names = [...listing.keys()];
  const files = ggufFiles(names, wanted);
  if (files.length > 0) return pickFiles(listing, files, id);
  const models = ggufModels(names);
  if (models.length === 0) throw new HubError(`${id}: holds no GGUF model`, 404);
  const which =
    wanted === undefined ? 'several GGUF models' : `no GGUF model, or several, of ${JSON.stringify(wanted)}`;
  throw new HubError(
    `${id}: holds ${which}; there are ${models.slice(0, 12).join(', ')}${models.length > 12 ? ', …' : ''}; ` +
      `name one, as ${id}/${models[0]}`,
    404,
  );
}

/**
 * Chooses what a checkpoint needs: the small files that are there, and `model.safetensors` or the index of its shards.
 * Of a repository that has neither config.json nor safetensors, a GGUF model. Other formats of the same weights
 * (consolidated, .bin, .gguf beside safetensors) are left alone.
 *
 * @throws HubError where config.json or the weights are missing.
 */
export function chooseFiles(listing: ReadonlyMap<string, HubFile>, id: string): HubChoice {
  const names = [...listing.keys()];
  if (ggufModels(names).length > 0 && !names.some((name) => name.endsWith('.safetensors')))
    return { files: pickGgufFiles(listing, undefined, id), index: undefined };
  const older = olderLayout(listing);
  if (older) return { files: older, index: undefined };
  if (!listing.has('config.json')) {
    throw new HubError(`${id}: ${noConfig(names)}`);
  }
  const files: HubFile[] = [];
  for (const name of SMALL_FILES) {
    const file = listing.get(name);
    if (file !== undefined) files.push(file);
  }
  for (const [name, file] of listing) if (MODULE_FILES.test(name)) files.push(file);
  const single = listing.get('model.safetensors');
  if (single !== undefined) return { files: [...files, single], index: undefined };
  const index = listing.get(SHARD_INDEX_FILE);
  if (index !== undefined) return { files, index };
  const others = [...listing.keys()].filter((name) => name.endsWith('.safetensors') && !name.includes('/'));
  if (others.length > 0) {
    throw new HubError(
      `${id}: holds ${others.slice(0, 3).join(', ')}, but neither model.safetensors nor ${SHARD_INDEX_FILE}; ` +
        'choose another repository of this model, or name the files to download',
    );
  }
  throw new HubError(`${id}: ${noSafetensors([...listing.keys()])}`);
}

/**
 * The files of a model of sentence-transformers that is in a folder of its own (src/checkpoint/open.ts reads it); else
 * nothing.
 */
function olderLayout(listing: ReadonlyMap<string, HubFile>): HubFile[] | undefined {
  const folder = `${TRANSFORMER_FOLDER}/`;
  if (listing.has('config.json') || !listing.has(`${folder}model.safetensors`)) return undefined;
  const wanted = [...SMALL_FILES, ...[...SMALL_FILES, 'model.safetensors'].map((name) => folder + name)];
  return [...listing.values()].filter(({ path }) => wanted.includes(path) || MODULE_FILES.test(path));
}

/**
 * Looks up files by name.
 *
 * @throws HubError naming those that the repository lacks.
 */
export function pickFiles(listing: ReadonlyMap<string, HubFile>, names: Iterable<string>, id: string): HubFile[] {
  const wanted = [...new Set(names)];
  const missing = wanted.filter((name) => !listing.has(name));
  if (missing.length > 0) {
    throw new HubError(`${id}: has no ${missing.slice(0, 10).join(', ')}${missing.length > 10 ? ', …' : ''}`, 404);
  }
  return wanted.map((name) => listing.get(name)!);
}
