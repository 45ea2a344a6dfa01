/**
 * @file Keeps the files of the page, so that it works without a network after one visit. The network comes first: a new
 * version is seen at once. A new service worker waits until no page of the old one is open, whose files it removes.
 */

/** Set by the build: a name for this set of files, and their paths. */
const [VERSION, FILES] = ['', []];
const PREFIX = 'keyhold-page';
const CACHE = `${PREFIX}-${VERSION}`;

self.addEventListener('install', (event) => event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES))));
self.addEventListener('activate', (event) => event.waitUntil(removeOld().then(() => self.clients.claim())));
self.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET' || new URL(request.url).origin !== location.origin) return;
  event.respondWith(answer(event));
});

async function removeOld() {
  for (const name of await caches.keys()) if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
}

async function answer(event) {
  const { request } = event;
  const cache = await caches.open(CACHE);
  const kept = () => cache.match(request, { ignoreVary: true });
  // The name of such a file changes with its content.
  const same = new URL(request.url).pathname.includes('/assets/') && (await kept());
  if (same) return same;
  try {
    const response = await fetch(request);
    // What is not among the files is kept when it was asked for, such as ONNX Runtime's build for WebGPU. Full storage
    // is no reason to refuse an answer.
    if (response.status === 200) event.waitUntil(cache.put(request, response.clone()).catch(() => {}));
    return response;
  } catch {
    // A model has files that may be absent.
    return (await kept()) ?? new Response('there is no network, and this file was not kept', { status: 404 });
  }
}
