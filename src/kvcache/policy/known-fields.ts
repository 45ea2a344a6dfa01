/**
 * @file Objects that refuse fields that they do not have.
 */
import { InputError } from '../../util/errors.ts';
import { closestName } from '../../util/option-names.ts';

/** Names that are asked of any object: by `await` and `JSON.stringify`. */
const ASKED_OF_ALL: readonly string[] = ['then', 'toJSON'];

/**
 * What policies are given. A misspelled field would be undefined, which a policy may return: its slots were then ranked
 * by scores that nothing had changed. The end of the prototype chain throws, so fields that are there cost nothing.
 */
export const KnownFields: new () => object = /* @__PURE__ */ endOfChain();

function endOfChain() {
  class Known {}
  const end = new Proxy(Object.prototype, {
    get(target, key, receiver: object) {
      if (typeof key === 'symbol' || key in target || ASKED_OF_ALL.includes(key))
        return Reflect.get(target, key, receiver);
      throw unknownField(receiver, key);
    },
    set(_, key, __, receiver: object) {
      throw unknownField(receiver, String(key));
    },
  });
  Object.setPrototypeOf(Known.prototype, end);
  return Known;
}

function unknownField(object: object, field: string): InputError {
  const names = [...Object.keys(object), ...Object.getOwnPropertyNames(Object.getPrototypeOf(object))];
  const near = closestName(field, names);
  return new InputError(`there is no field ${field}${near === undefined ? '' : `; did you mean ${near}?`}`);
}
