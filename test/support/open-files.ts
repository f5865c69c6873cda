/** What a process holds open, as Linux tells it. */
import { readdir, readlink } from 'node:fs/promises';

/** Paths of its open files; none where there is no /proc. One that is closed meanwhile is not among them. */
export async function openFiles(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  const descriptors = await readdir(folder).catch(() => []);
  const targets = await Promise.all(descriptors.map((fd) => readlink(`${folder}/${fd}`).catch(() => null)));
  return targets.filter((target) => target !== null);
}
