/**
 * @file Tells what kind of adapter some files are, and reads it.
 */
import { checkArgument } from '../../util/arguments.ts';
import { AdapterError } from '../../util/errors.ts';
import { pathFlaw } from '../../util/files/relative-path.ts';
import { type AdapterFiles, AdapterTensors, type OpenAdapter, openTensors, readSettings } from './adapter-files.ts';
import { LITGPT_SETTINGS, LITGPT_TENSORS, readLitgpt } from './litgpt.ts';
import { PEFT_CONFIG, PEFT_TENSORS, readPeft } from './peft.ts';

/**
 * Opens an adapter: PEFT's (adapter_config.json and adapter_model.safetensors), or LitGPT's (settings.json and
 * adapter.safetensors, or whatever the one safetensors file is called).
 * @param tensorFile a particular file instead.
 * @throws AdapterError where files are missing; CheckpointError where they are damaged; InputError for something else
 * than files.
 */
export async function openAdapter(files: AdapterFiles, tensorFile?: string): Promise<OpenAdapter> {
  const { list, open } = (files ?? {}) as Partial<AdapterFiles>;
  const reads = typeof list === 'function' && typeof open === 'function';
  checkArgument('openAdapter', 'files, as { name, list, open }', files, reads);
  const peft = await readSettings(files, PEFT_CONFIG);
  const litgpt = peft === undefined ? await readSettings(files, LITGPT_SETTINGS) : undefined;
  const settings = peft ?? litgpt;
  if (settings === undefined)
    throw new AdapterError(
      `${files.name}: there is neither ${PEFT_CONFIG} (an adapter of PEFT) nor ${LITGPT_SETTINGS} (one of LitGPT)`,
    );
  const file = tensorFile ?? (peft === undefined ? await onlyTensors(files) : PEFT_TENSORS);
  const flaw = pathFlaw(file);
  if (flaw) throw new AdapterError(`${files.name}: the file name ${JSON.stringify(file)} ${flaw}`);
  const source = await files.open(file);
  if (!source) throw new AdapterError(`${files.name}: ${await missing(files, file)}`);
  const read = peft === undefined ? readLitgpt : readPeft;
  return openTensors(source, async () => {
    const tensors = await AdapterTensors.open(files.name, source, settings);
    return { tensors, readFor: (base) => read(tensors, settings, base) };
  });
}

async function onlyTensors(files: AdapterFiles): Promise<string> {
  const found = (await files.list()).filter((name) => name.endsWith('.safetensors'));
  if (found.length === 1) return found[0];
  if (found.length === 0 || found.includes(LITGPT_TENSORS)) return LITGPT_TENSORS;
  throw new AdapterError(`${files.name}: there are ${found.length} .safetensors files; open one of them by its path`);
}

async function missing(files: AdapterFiles, file: string): Promise<string> {
  const pickled = (await files.list()).find((name) => /\.(bin|pt|pth|ckpt)(\.\w+)*$/.test(name));
  if (!pickled) return `there is no ${file}`;
  const inside = file === PEFT_TENSORS ? '' : '["model"]'; // LitGPT saves the tensors under a name
  return (
    `the adapter is in PyTorch's pickle format (${pickled}), which can run code and is not read. Convert it in Python: ` +
    `safetensors.torch.save_file(torch.load(${JSON.stringify(pickled)})${inside}, ${JSON.stringify(file)})`
  );
}
