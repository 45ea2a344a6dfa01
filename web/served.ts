/**
 * @file The page of a server: its models, a key where it wants one, and the sessions that it has in memory.
 */
import { byId, element } from './dom.ts';
import type { PageModel } from './engine.ts';
import { type ListedCache, Server } from './http.ts';
import { megabytes, Side } from './side.ts';
import { fail, say } from './status.ts';

const LIST_MS = 2000;

/** Opens a model of the server, and others as they are chosen. */
export async function openServer(
  use: (open: (signal: AbortSignal) => Promise<PageModel>) => Promise<void>,
): Promise<void> {
  // Models, budgets and formats are chosen by the options of `keyhold serve`.
  document.querySelectorAll<HTMLElement>('.local').forEach((part) => {
    part.hidden = true;
  });
  const server = new Server(askKey);
  const models = await server.models();
  const first = models.find(({ keyhold }) => keyhold.loaded) ?? models[0];
  if (!first) {
    say('The server has no model that writes text.');
    return;
  }
  if (models.length > 1) {
    const select = element(
      'select',
      {},
      models.map(({ id }) => element('option', { value: id }, [id])),
    );
    select.value = first.id;
    select.addEventListener('change', () => void use((signal) => server.open(select.value, signal)));
    document.querySelector('header')!.append(element('label', {}, ['Model ', select]));
  }
  await use((signal) => server.open(first.id, signal));
  showSessions(server, models.length > 1);
}

/** A field for a key, as long as one is wanted. */
function askKey(refused: string): Promise<string> {
  const input = element('input', { type: 'password', autocomplete: 'current-password', required: '' });
  const form = element('form', { class: 'row key', 'aria-label': 'API key' }, [
    element('label', {}, ['API key of this server ', input]),
    element('button', { type: 'submit' }, ['Use']),
  ]);
  byId('status').after(form);
  if (refused === '') say('The server wants an API key.');
  else say('The server does not accept this key.', true);
  input.focus();
  return new Promise((resolve) => {
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      form.remove();
      say('Loading…');
      resolve(input.value);
    });
  });
}

/** The sessions in the server's memory. One of them can be watched. @param hasModels whether there are several. */
function showSessions(server: Server, hasModels: boolean): void {
  const body = element('tbody');
  const watched = element('div');
  const columns = ['session', ...(hasModels ? ['model'] : []), 'cache', 'held', 'seen', 'evicted', 'memory', ''];
  byId('caches').append(
    element('h2', {}, ['Sessions in memory']),
    element('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Sessions in memory' }, [
      element('table', {}, [
        element('thead', {}, [
          element(
            'tr',
            {},
            columns.map((text) => element(text ? 'th' : 'td', text ? { scope: 'col' } : {}, [text])),
          ),
        ]),
        body,
      ]),
    ]),
    watched,
  );
  let side: Side | null = null;
  const watch = async ({ model, cache, session }: ListedCache) => {
    const choice = { policy: cache, cacheLength: 0, buffer: '', session };
    const view = new Side(await server.open(model), choice);
    side = view;
    watched.replaceChildren(view.root);
    await view.conversation();
    await view.report(null);
  };
  const row = (each: ListedCache) => {
    const button = element('button', { type: 'button', 'aria-label': `Show session ${each.session}` }, ['Show']);
    button.addEventListener('click', () => void watch(each).catch(fail));
    const cells = [
      ...(hasModels ? [each.model] : []),
      each.cache,
      String(Math.round(each.held)),
      String(each.seen),
      String(Math.round(each.evicted)),
      megabytes(each.bytes),
      button,
    ];
    return element('tr', {}, [
      element('th', { scope: 'row', title: each.session }, [each.session.slice(0, 12)]),
      ...cells.map((cell) => element('td', {}, [cell])),
    ]);
  };
  let shown = '';
  const refresh = async () => {
    const caches = await server.caches().catch(() => null);
    const text = JSON.stringify(caches);
    // An unchanged table keeps the focus of its buttons.
    if (caches && text !== shown) body.replaceChildren(...caches.map(row));
    shown = text;
    await side?.report(null);
    setTimeout(() => void refresh(), LIST_MS);
  };
  void refresh();
}
