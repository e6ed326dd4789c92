import { existsSync, globSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { homeAt } from '../../src/main/home.ts';

/** What uploads, sessions and runs have in a data folder, by name. */
export function storedFiles(home: string): string[] {
  return ['uploads', 'sessions', 'runs'].flatMap((kind) => {
    const folder = join(home, 'runner', kind);
    return existsSync(folder) ? readdirSync(folder).map((name) => `${kind}/${name}`) : [];
  });
}

/**
 * What an instance has on this machine outside its data folder: processes that name it in command line, folder
 * or environment, mounts, the socket view and control groups.
 */
export function traces(home: string): string[] {
  const { instance } = homeAt(home);
  const names = [home, instance];
  const view = join('/run/sealwright', instance);
  return [
    ...processesNaming(names),
    ...(existsSync(view) ? [`view ${view}`] : []),
    ...globSync(`/sys/fs/cgroup/{*,*/*,*/*/*}/${instance}`).map((path) => `control group ${path}`),
  ];
}

/** Processes that name any of `names` in their command line, folder, environment or mounts; this one is left out. */
export function processesNaming(names: readonly string[]): string[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
    .flatMap((pid) => {
      const facts = ['cmdline', 'environ', 'mountinfo'].map((file) => contentOf(`/proc/${pid}/${file}`));
      const said = [...facts, linkOf(`/proc/${pid}/cwd`)].join('\n');
      if (!names.some((name) => said.includes(name))) return [];
      return [`process ${pid} ${facts[0]!.replaceAll('\0', ' ').slice(0, 200)}`];
    });
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it has ended, or it is another user's
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
