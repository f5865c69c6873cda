/** Values as people have them, by what they are for. Every object that they make is checked. */

const MASTER_KEY = `k1:${Buffer.alloc(32, 7).toString('base64')}`;
const OPERATOR_KEY = 'pbk_0123456789abcdef';
const REDIS_AT = [{ ipBlock: { cidr: '10.0.0.5/32' } }];

/** As little as there can be. */
export const MINIMAL = {
  keys: { existingSecret: 'popbridge-keys' },
  redis: { existingSecret: 'popbridge-redis' },
  blobs: { s3: { bucket: 'mail' } },
  networkPolicy: { redis: { to: REDIS_AT } },
};

const TRY_OUT = {
  keys: { operatorKey: OPERATOR_KEY, masterKeys: MASTER_KEY },
  valkey: { enabled: true, password: 'try-out-password' },
  blobs: { store: 'redis' },
};

const PLACEMENT = {
  priorityClassName: 'important',
  nodeSelector: { disk: 'fast' },
  tolerations: [{ key: 'mail', operator: 'Exists', effect: 'NoSchedule' }],
  affinity: {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'arch', operator: 'In', values: ['x'] }] }],
      },
    },
  },
  podAnnotations: { 'example.com/a': 'b' },
};
const POD = {
  ...PLACEMENT,
  podLabels: { team: 'mail' },
  extraEnv: [{ name: 'NODE_OPTIONS', value: '--max-old-space-size=900' }],
  extraVolumes: [{ name: 'more', emptyDir: {} }],
  extraVolumeMounts: [{ name: 'more', mountPath: '/more' }],
};

export const VALUE_SETS: Readonly<Record<string, object>> = {
  minimal: MINIMAL,
  'trying out': TRY_OUT,
  'trying out in one Deployment': { ...TRY_OUT, mode: 'all' },
  'one Deployment with a volume': {
    ...TRY_OUT,
    mode: 'all',
    blobs: { store: 'file', file: { storageClass: 'fast', size: '50Gi' } },
  },
  'split roles on a shared volume': {
    ...TRY_OUT,
    blobs: { store: 'file', file: { existingClaim: 'mail', accessModes: ['ReadWriteMany'] } },
  },
  'Valkey as it is for trying out, with all that can be set': {
    ...TRY_OUT,
    valkey: {
      ...TRY_OUT.valkey,
      ...PLACEMENT,
      image: { repository: 'mirror:5000/valkey', digest: `sha256:${'a'.repeat(64)}` },
      config: { maxclients: 5000, 'tcp-keepalive': 60 },
      persistence: { enabled: false },
      maxmemory: '1gb',
    },
  },
  'Sentinel with TLS, ACL users and a private S3': {
    keys: { existingSecret: 'popbridge-keys', secretKeys: { operatorKey: 'api', masterKeys: 'master' } },
    redis: {
      mode: 'sentinel',
      hosts: ['sentinel-0.redis:26379', 'sentinel-1.redis:26379', 'sentinel-2.redis:26380'],
      tls: true,
      username: 'popbridge',
      existingSecret: 'redis-acl',
      ca: { existingSecret: 'redis-ca' },
      sentinel: { name: 'mymaster', username: 'watcher', passwordInSecret: true },
      replicas: 2,
    },
    blobs: {
      s3: {
        bucket: 'mail',
        endpoint: 'http://minio.storage:9000',
        pathStyle: 'true',
        existingSecret: 'minio',
        region: 'eu-1',
      },
    },
    networkPolicy: {
      redis: {
        to: [{ namespaceSelector: { matchLabels: { name: 'redis' } }, podSelector: { matchLabels: { app: 'redis' } } }],
      },
      s3: { to: [{ namespaceSelector: { matchLabels: { name: 'storage' } } }] },
    },
  },
  'Cluster with everything given as values': {
    keys: { operatorKey: OPERATOR_KEY, masterKeys: `${MASTER_KEY},k2:${Buffer.alloc(32, 8).toString('base64')}` },
    redis: {
      mode: 'cluster',
      hosts: ['a.redis:7000', 'b.redis:7001'],
      tls: true,
      username: 'pop bridge',
      password: 'p@ss:w/ord +1',
      ca: { existingConfigMap: 'ca', key: 'root.pem' },
      allowVolatile: true,
    },
    blobs: {
      s3: {
        bucket: 'mail',
        accessKeyId: 'AKIA',
        secretAccessKey: 'secret-of-the-bucket',
        endpoint: 'https://s3.example.com',
      },
    },
    networkPolicy: { redis: { to: REDIS_AT, ports: [7000, 7001] } },
  },
  'a URL as a value, of a single Redis with TLS': {
    ...TRY_OUT,
    valkey: { enabled: false },
    redis: { url: 'rediss://popbridge:secret@redis.example.com:6380/1', ca: { existingSecret: 'ca' } },
    networkPolicy: { redis: { to: REDIS_AT } },
  },
  'secrets from outside': {
    externalSecret: {
      enabled: true,
      store: { name: 'vault', kind: 'ClusterSecretStore' },
      refreshInterval: '15m',
      data: ['operator-key', 'master-keys', 'redis-url', 'access-key-id', 'secret-access-key', 'egress-proxy'].map(
        (secretKey) => ({ secretKey, remoteRef: { key: 'popbridge', property: secretKey } }),
      ),
    },
    blobs: { s3: { bucket: 'mail' } },
    networkPolicy: { redis: { to: REDIS_AT }, proxy: { to: REDIS_AT, ports: [8080] } },
  },
  'exposed by Ingress and Gateway': {
    ...MINIMAL,
    publicUrl: 'https://mail.example.com',
    service: { type: 'LoadBalancer', port: 8080, annotations: { a: 'b' } },
    ingress: {
      enabled: true,
      className: 'nginx',
      annotations: { 'nginx.ingress.kubernetes.io/proxy-buffering': 'off' },
      hosts: ['mail.example.com', '*.example.org'],
      tls: [{ secretName: 'mail-tls', hosts: ['mail.example.com'] }],
    },
    httpRoute: {
      enabled: true,
      parentRefs: [{ name: 'public', namespace: 'gateways', sectionName: 'https' }],
      hostnames: ['mail.example.com'],
      timeouts: { request: '120s' },
      filters: [{ type: 'ResponseHeaderModifier', responseHeaderModifier: { set: [{ name: 'X-A', value: 'b' }] } }],
    },
  },
  'an Ingress for any host': { ...MINIMAL, ingress: { enabled: true } },
  'scaled by CPU and memory': {
    ...MINIMAL,
    api: {
      autoscaling: { enabled: true, memoryPercent: 80, behavior: { scaleDown: { stabilizationWindowSeconds: 60 } } },
    },
    worker: { autoscaling: { enabled: true, minReplicas: 3 } },
  },
  'scaled by Prometheus and watched': {
    ...MINIMAL,
    metrics: {
      serviceMonitor: { enabled: true, labels: { release: 'prometheus' } },
      rules: {
        enabled: true,
        labels: { release: 'prometheus' },
        disabled: ['PopbridgeWebhooksFailing'],
        thresholds: { oldestDueSeconds: 60 },
      },
      dashboard: { enabled: true, annotations: { folder: 'Mail' } },
    },
    tracing: { endpoint: 'http://collector.tracing:4318' },
    worker: {
      keda: {
        enabled: true,
        behavior: { scaleUp: { stabilizationWindowSeconds: 0 } },
        prometheus: { serverAddress: 'http://prometheus.monitoring:9090', authenticationRef: 'prometheus' },
      },
    },
    networkPolicy: {
      redis: { to: REDIS_AT },
      collector: { to: [{ namespaceSelector: { matchLabels: { name: 'tracing' } } }] },
    },
  },
  'scaled by the lists of the Valkey': { ...TRY_OUT, worker: { keda: { enabled: true, source: 'redis' } } },
  'scaled by the lists of a Cluster': {
    ...MINIMAL,
    redis: {
      mode: 'cluster',
      hosts: ['a.redis:6379', 'b.redis:6379'],
      tls: true,
      username: 'popbridge',
      existingSecret: 'redis',
      ca: { existingSecret: 'ca' },
    },
    worker: { keda: { enabled: true, source: 'redis', waitingJobs: 20 } },
  },
  'scaled by the lists behind Sentinels': {
    ...MINIMAL,
    redis: {
      mode: 'sentinel',
      hosts: ['a.redis:26379', 'b.redis:26379'],
      existingSecret: 'redis',
      sentinel: { name: 'mymaster', username: 'watcher', passwordInSecret: true },
    },
    worker: { keda: { enabled: true, source: 'redis' } },
  },
  'every setting and every place': {
    ...MINIMAL,
    fullnameOverride: 'bridge',
    image: {
      repository: 'mirror.internal:5000/mail/popbridge',
      digest: `sha256:${'0'.repeat(64)}`,
      pullSecrets: ['pull'],
    },
    settings: {
      POPBRIDGE_MESSAGE_BYTES_MAX: 104_857_600,
      POPBRIDGE_QUOTA_BYTES: 1_000_000_000_000,
      POPBRIDGE_HOST_LIMITS: 'pop.example.com=20/10',
      POPBRIDGE_WEBHOOK_RETRIES: '5s,5m',
      POPBRIDGE_LOG_LEVEL: 'debug',
    },
    egress: { allow: '10.20.0.0/16:110', proxy: { existingSecret: 'proxy' } },
    api: { ...POD, replicas: 3, terminationGracePeriodSeconds: 90 },
    worker: {
      ...POD,
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      podDisruptionBudget: { maxUnavailable: '50%' },
    },
    serviceAccount: { name: 'bridge', annotations: { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::1:role/mail' } },
    networkPolicy: {
      redis: { to: REDIS_AT },
      proxy: { to: REDIS_AT },
      api: { from: [{ namespaceSelector: { matchLabels: { name: 'ingress' } } }] },
      extraEgress: [{ to: [{ ipBlock: { cidr: '10.20.0.0/16' } }], ports: [{ protocol: 'TCP', port: 110 }] }],
    },
    extraObjects: [
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: '{{ .Release.Name }}-more' }, data: { a: 'b' } },
      'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ include "popbridge.fullname" . }}-text\n',
    ],
  },
  'OpenShift, without policies, tests and metrics': {
    ...MINIMAL,
    podSecurity: { runAsUser: null, runAsGroup: null, fsGroup: null },
    serviceAccount: { create: false },
    networkPolicy: { enabled: false },
    tests: { enabled: false },
    metrics: { enabled: false },
    api: { podDisruptionBudget: { enabled: false } },
  },
};
