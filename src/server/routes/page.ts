/**
 * @file The page of the server: its files, and the routes that tell it what caches hold.
 */
import { HttpError } from '../http-error.ts';
import type { ModelEntry } from '../model-entry.ts';
import type { ServedModel } from '../served-model.ts';
import type { PageFiles } from './page-files.ts';
import type { Routes } from './routes.ts';

/** The page sends nothing to other servers. */
const HEADERS = {
  'content-security-policy': "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-cache',
} as const;

/** Serves the files. They need no key: the page asks for one where the server wants it. */
export function addPageFiles(app: Routes, files: PageFiles): void {
  for (const [path, { type, body }] of files)
    app.get(`/${path}`, (c) => c.body(body as Uint8Array<ArrayBuffer>, 200, { ...HEADERS, 'content-type': type }));
}

const loadedOf = (models: readonly ModelEntry[]): ServedModel[] => models.flatMap(({ loaded }) => loaded ?? []);

/** Routes that tell what the caches of sessions hold. A key sees its own sessions only. */
export function addCacheRoutes(app: Routes, models: readonly ModelEntry[]): void {
  const ownedBy = (key: string) =>
    loadedOf(models).flatMap((served) =>
      served.sessions
        .list()
        .filter(({ owner }) => owner.key === key)
        .map((session) => ({ ...session, served })),
    );

  app.get('/caches', async (c) => {
    const data = [];
    for (const { served, owner, cache, busy } of ownedBy(c.get('key'))) {
      const { policy, cacheLength, seen, held, evicted, bytes } = await cache.stats();
      data.push({
        ...{ model: served.id, cache: owner.cacheClass, session: owner.id, busy, policy, cache_length: cacheLength },
        ...{ seen: seen[0], held: held[0], evicted: evicted[0], bytes },
      });
    }
    return c.json({ object: 'list', data });
  });

  app.get('/caches/contents', async (c) => {
    const [model, cacheClass, id] = ['model', 'cache', 'session'].map((name) => c.req.query(name));
    const found = ownedBy(c.get('key')).find(
      ({ served, owner }) => served.id === model && owner.cacheClass === cacheClass && owner.id === id,
    );
    if (!found)
      throw new HttpError(404, 'there is no such cache in memory; name model, cache and session as GET /caches does', {
        code: 'cache_not_found',
      });
    const { cache, busy } = found;
    const [stats, memory, tokens, contents] = await Promise.all([
      cache.stats(),
      cache.memory(),
      cache.tokens(),
      cache.contents(),
    ]);
    return c.json({ busy, stats, memory, tokens, contents });
  });
}
