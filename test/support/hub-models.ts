/**
 * @file The small model on a hub of this machine, under any names.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HubServer, type HubServerFile } from './hub-server.ts';

/** The commit that every branch is at. */
export const TINY_COMMIT = 'c'.repeat(40);

const TINY = join(import.meta.dirname, '../../models/tiny');
const FILES = ['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];

/**
 * Starts a hub that has the small model under each of these names; those that end in `-Instruct` have a chat template,
 * and so does Qwen3, whose models have one without saying so.
 */
export async function startHubOf(...ids: string[]): Promise<HubServer> {
  const server = await HubServer.start();
  const files: Record<string, HubServerFile> = { 'README.md': { content: new TextEncoder().encode('# tiny') } };
  for (const name of FILES)
    files[name] = { content: await readFile(join(TINY, name)), lfs: name.endsWith('.safetensors') };
  const template = '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:';
  const withTemplate = { ...files, 'chat_template.jinja': { content: new TextEncoder().encode(template) } };
  for (const id of ids)
    server.repos.set(id, {
      commits: { [TINY_COMMIT]: /-Instruct$|\/Qwen3-/.test(id) ? withTemplate : files },
      refs: { main: TINY_COMMIT },
    });
  return server;
}
