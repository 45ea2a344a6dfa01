/**
 * @file Models of the hub: a field for a name, and the list of those that are in the browser's storage.
 */
import { deleteStoredModel, type HubModelChoice, storedModels } from '../src/exports/web.ts';
import { byId, element } from './dom.ts';
import { megabytes } from './side.ts';
import { fail, say } from './status.ts';

/** Another hub: `?hub=https://…` in the address of the page. */
const endpoint = new URLSearchParams(location.search).get('hub') ?? undefined;

/** A model that the browser has whole, by its name; null: it has not. */
export async function storedChoice(hub: string): Promise<HubModelChoice | null> {
  const models = await storedModels().catch(() => []);
  return models.some((each) => each.hub === hub && each.commit !== null) ? { hub, endpoint } : null;
}

/** @param load is given what is chosen. @param loadShipped loads the model that comes with the page. */
export function showHub(load: (model: HubModelChoice) => Promise<void>, loadShipped: () => Promise<void>): void {
  const shipped = element('button', { type: 'button' }, ['Load keyhold/tiny']);
  shipped.addEventListener('click', () => void loadShipped());
  const use = async (hub: string) => {
    await load({ hub, endpoint });
    await refresh();
  };
  const refresh = async () => {
    const models = await storedModels().catch(() => []);
    byId('stored').replaceChildren(
      element('li', {}, [shipped, 'comes with the page']),
      ...models.map(({ hub, commit, bytes }) => {
        const open = element('button', { type: 'button' }, [commit === null ? `Go on with ${hub}` : `Load ${hub}`]);
        open.addEventListener('click', () => void use(hub).catch(fail));
        const remove = element('button', { type: 'button' }, [`Delete ${hub}`]);
        remove.addEventListener('click', () => {
          const deleted = deleteStoredModel(hub).then(() => say(`${hub} was deleted.`), fail);
          void deleted.then(refresh);
        });
        return element('li', {}, [open, megabytes(bytes), remove]);
      }),
    );
  };
  byId('hub-form').addEventListener('submit', (event) => {
    event.preventDefault();
    void use(byId<HTMLInputElement>('hub-name').value.trim()).catch(fail);
  });
  // Another tab may have loaded or deleted one.
  byId('hub').addEventListener('toggle', () => void refresh());
  void refresh();
}
