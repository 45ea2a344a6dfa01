/**
 * @file Which file names from indexes and servers may be joined to a folder.
 */

/**
 * Says why `name` must not be joined to a folder, or nothing where it is harmless: a relative path with forward
 * slashes, without `.` and `..`, and without what Windows reads as a drive, a stream or a separator.
 */
export function pathFlaw(name: string): string | undefined {
  if (name === '') return 'is empty';
  if (name.length > 1024) return 'is too long';
  if (name.startsWith('/')) return 'is an absolute path';
  if (name.includes('\\')) return 'contains a backslash';
  if (name.includes(':')) return 'contains a colon';
  if (/[\x00-\x1f\x7f]/.test(name)) return 'contains control characters';
  for (const part of name.split('/')) {
    if (part === '..') return 'leaves the folder';
    if (part === '' || part === '.') return 'has an empty part or a dot as part';
  }
  return undefined;
}
