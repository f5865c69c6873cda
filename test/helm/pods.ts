/** The pods that the chart's objects make, whatever kind of object makes them, hooks and tests included. */
import type { IDeployment } from 'kubernetes-models/apps/v1/Deployment';
import type { IPodTemplateSpec } from 'kubernetes-models/v1/PodTemplateSpec';
import type { Manifest } from '../support/helm.ts';

export interface PodOf {
  readonly owner: Manifest;
  readonly pod: IPodTemplateSpec;
}

export function podsOf(manifests: readonly Manifest[]): PodOf[] {
  return manifests.flatMap<PodOf>((owner) => {
    if (owner.kind === 'Pod') return [{ owner, pod: owner }];
    const pod = (owner as unknown as Partial<IDeployment>).spec?.template;
    return pod?.spec ? [{ owner, pod }] : [];
  });
}

/** Of one component: `api`, `worker`, `all`, `valkey`, `test`. */
export function podOf(manifests: readonly Manifest[], component: string): IPodTemplateSpec {
  const found = podsOf(manifests).find(
    ({ pod }) => pod.metadata?.labels?.['app.kubernetes.io/component'] === component,
  );
  if (!found) throw new Error(`no pod of ${component}`);
  return found.pod;
}

export function find(manifests: readonly Manifest[], kind: string, name?: string): Manifest {
  const found = manifests.find((each) => each.kind === kind && (name === undefined || each.metadata.name === name));
  if (!found) throw new Error(`no ${kind} ${name ?? ''}`);
  return found;
}
