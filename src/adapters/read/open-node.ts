/**
 * @file An adapter from the disk.
 */
import { stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { fileError } from '../../checkpoint/file-source-node.ts';
import { isGgufFile } from '../../checkpoint/open.ts';
import { folderFiles } from '../../checkpoint/open-node.ts';
import { checkPath } from '../../util/arguments.ts';
import { AdapterError } from '../../util/errors.ts';
import { shippedFolder } from '../../util/files/shipped-node.ts';
import type { OpenAdapter } from './adapter-files.ts';
import { openGgufAdapter } from './gguf.ts';
import { openAdapter } from './open-adapter.ts';

/**
 * Opens a folder that holds an adapter of PEFT or LitGPT, its .safetensors file with the settings beside it, a LoRA in
 * a GGUF file, or the adapter that ships with the package (`keyhold/tiny-jargon`). The caller closes it.
 * @throws AdapterError where there is no adapter; CheckpointError where its files are damaged; InputError
 * for what is no path.
 */
export async function openAdapterFolder(path: string): Promise<OpenAdapter> {
  checkPath('openAdapterFolder', path);
  const full = resolve(shippedFolder(path) ?? path);
  let isDirectory: boolean;
  try {
    isDirectory = (await stat(full)).isDirectory();
  } catch (cause) {
    throw new AdapterError(fileError(path, cause).message, { cause });
  }
  if (isDirectory) return openAdapter(folderFiles(full, path));
  const files = folderFiles(dirname(full), path);
  if (await isGgufFile(files, basename(full))) return openGgufAdapter(files, basename(full));
  if (!full.endsWith('.safetensors'))
    throw new AdapterError(`${path}: is neither a folder nor a .safetensors or GGUF file`);
  return openAdapter(files, basename(full));
}

/** What a live adapter is called unless it is given a name: the last folder of its path, or its .gguf file. */
export function adapterName(path: string): string {
  const full = resolve(path);
  if (full.endsWith('.gguf')) return basename(full, '.gguf');
  return basename(full.endsWith('.safetensors') ? dirname(full) : full);
}
