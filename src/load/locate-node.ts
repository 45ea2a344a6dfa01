/**
 * @file What the name of a model stands for: a folder or a file, a model of the package, or one of the hub, which is
 * downloaded.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { downloadFromHub, ggufOfDownload, type HubDownloadOptions, type HubProgress } from '../hub/hub-node.ts';
import { hubGguf } from '../hub/names.ts';
import { HubError, InputError } from '../util/errors.ts';
import { homeFolder } from '../util/files/home-node.ts';
import { shippedFolder, TINY_MODEL } from '../util/files/shipped-node.ts';
import { shown } from '../util/option-names.ts';

/** What {@link locateModel} reads of the options of a load. */
export interface LocateOptions {
  readonly hub?: Omit<HubDownloadOptions, 'signal' | 'onProgress'>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly stage: 'download' } & HubProgress) => void;
}

/** A path, whatever is there: the hub has no such names. */
const PATH = /^(\.{0,2}[/\\]|~|[A-Za-z]:)/;
/** Files of models, also in formats that are not read. A repository of no organization is never named like one. */
const MODEL_FILE = /^[^/]+\.(gguf|safetensors|onnx|bin|pt|pth|ckpt|h5|tflite|llamafile)$/i;

/**
 * The folder or file of a model that is named by path, hub id or shipped name; downloads it if it is not there yet.
 * @param first what a download waits for.
 * @throws HubError, InputError; what `first` is rejected with.
 */
export async function locateModel(model: string, options: LocateOptions, first?: Promise<unknown>): Promise<string> {
  if (typeof model !== 'string')
    throw new InputError(`the model must be a folder, a file or a hub id, but is ${shown(model)}`);
  if (model === '') throw new InputError('the name of the model is empty');
  const shipped = shippedFolder(model);
  if (shipped !== undefined) return shipped;
  if (existsSync(model)) return model;
  checkModelName(model);
  if (PATH.test(model) || MODEL_FILE.test(model)) return model;
  const named = hubGguf(model);
  if (named === null && model.split('/').length > 2) return model;
  await first;
  const { onProgress, signal, hub } = options;
  try {
    const folder = await downloadFromHub(model, {
      ...hub,
      signal,
      onProgress: (p) => onProgress?.({ stage: 'download', ...p }),
    });
    return (hub?.files === undefined ? await ggufOfDownload(folder, named?.gguf) : null) ?? folder;
  } catch (cause) {
    if (!(cause instanceof HubError)) throw cause;
    // A mistyped path looks like a hub id.
    const ours = model.startsWith('keyhold/') ? `. The model that ships is ${TINY_MODEL}` : '';
    const hint = `There is no file or folder ${model} here, so it was looked for on the hub${ours}`;
    throw new HubError(`${cause.message.replace(/[^.?!]$/, '$&.')} ${hint}`, cause.status, { cause });
  }
}

/**
 * Refuses what other programs take as the name of a model, and says what to give in its place.
 * @throws InputError
 */
export function checkModelName(model: string): void {
  const advice = adviceOn(model);
  if (advice !== undefined) throw new InputError(`the model ${shown(model)} ${advice}`);
}

function adviceOn(model: string): string | undefined {
  const isUrl = /^(https?|file):/i.test(model);
  const what = 'is a URL, but must be a folder, a file or a hub id';
  const name = hubNameIn(model);
  if (name !== undefined) return `${isUrl ? what : 'is no name of the hub'}; give its name there, "${name}"`;
  if (/^file:/i.test(model)) return `${what}; give its path${pathOf(model)}`;
  if (isUrl) return `${what}; download the file and give its path`;
  if (/^~[/\\]/.test(model))
    return `does not exist: only a shell puts the home folder in place of ~; give "${join(homeFolder(), model.slice(2))}"`;
  if (/^[\w.-]{2,}:[\w.-]+$/.test(model))
    return (
      'has no organization, as names of Ollama have none; give the name of the model on the Hugging Face hub, ' +
      'such as Qwen/Qwen3-0.6B, or org/name:Q4_K_M of GGUF'
    );
  return undefined;
}

/** The name of the hub in the URL of one of its pages or files, or in a name of Ollama's or node-llama-cpp's. */
function hubNameIn(model: string): string | undefined {
  const match =
    /^(?:(?:https?:\/\/)?(?:www\.)?(?:huggingface\.co|hf\.co)\/|hf:(?:\/\/)?)([\w.-]+\/[\w.-]+)(:[\w.-]+)?(?:\/(?:blob|resolve|raw)\/[^/]+)?(\/[^?#]+\.gguf)?/i.exec(
      model,
    );
  return match === null ? undefined : `${match[1]}${match[3] ?? match[2] ?? ''}`;
}

function pathOf(url: string): string {
  try {
    return `, "${fileURLToPath(url)}"`;
  } catch {
    return '';
  }
}
