/**
 * @file What lies in place of a file that was not downloaded: its pointer of Git LFS, or a web page.
 */

/** Says so, and what to do; undefined for anything else. @param start the first bytes of the file. */
export function placeholderAdvice(start: Uint8Array): string | undefined {
  const text = new TextDecoder().decode(start.subarray(0, 40)).trimStart().toLowerCase();
  if (text.startsWith('version https://git-lfs'))
    return 'it is a pointer of Git LFS: fetch the file itself with "git lfs pull"';
  if (text.startsWith('<')) return 'it is a web page: the download did not give the file; download it again';
  return undefined;
}
