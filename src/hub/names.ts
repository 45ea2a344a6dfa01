/**
 * @file How models of the hub are named.
 */
import { HubError } from '../util/errors.ts';
import { pathFlaw } from '../util/files/relative-path.ts';

/** How a GGUF model on the hub is named: `org/name:Q4_K_M` or `org/name/folder/file.gguf`. Null for anything else. */
export function hubGguf(model: string): { readonly id: string; readonly gguf: string } | null {
  const match = /^([\w.-]+\/[\w.-]+)(?::([\w.-]+)|\/(.+\.gguf))$/i.exec(model);
  return match ? { id: match[1], gguf: match[2] ?? match[3] } : null;
}

/**
 * Refuses names that are no repository or revision, or would lead out of the cache.
 *
 * @throws HubError saying what is expected.
 */
export function checkHubNames(id: string, revision: string): void {
  const part = '[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?';
  if (!new RegExp(`^(?:${part}/)?${part}$`).test(id) || id.includes('..') || id.includes('--')) {
    throw new HubError(`${JSON.stringify(id)} is not a repository id; it looks like "org/name" or "name"`);
  }
  const flaw = pathFlaw(revision);
  if (flaw !== undefined || /[\s~^?*[#%]/.test(revision)) {
    throw new HubError(
      `${JSON.stringify(revision)} is not a revision${flaw === undefined ? '' : ` (it ${flaw})`}; ` +
        'name a branch, a tag, or a full commit hash',
    );
  }
}
