/**
 * The first layers of the small model as a model of its own: what a test computes by a slow engine need not be deep.
 */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ROOT } from './example-folder.ts';
import { readTensors, writeTensors } from './safetensors-file.ts';

const TINY = join(ROOT, 'models/tiny');

/** Writes it into an empty folder. */
export async function writeShallowModel(folder: string, layers: number): Promise<void> {
  for (const name of ['generation_config.json', 'tokenizer.json', 'tokenizer_config.json'])
    await cp(join(TINY, name), join(folder, name));
  const config = JSON.parse(await readFile(join(TINY, 'config.json'), 'utf8'));
  await writeFile(join(folder, 'config.json'), JSON.stringify({ ...config, num_hidden_layers: layers }));
  const tensors = Object.entries(await readTensors(join(TINY, 'model.safetensors')));
  const isKept = (name: string) => Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1) < layers;
  await writeTensors(join(folder, 'model.safetensors'), Object.fromEntries(tensors.filter(([name]) => isKept(name))));
}
