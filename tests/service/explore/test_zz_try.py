from tests.explore import *
def test_it(lab, stored):
    import json, time
    for t in (0.8,0.86,0.9,0.93,0.95,0.97,0.99,1.0):
        a=lab.ann.explore(lab.dataset,[duplicates(t)])
        print(t,[(c['n_images'],names(c)[:4]) for c in a['clusters']])
        got={frozenset(m['file_name'] for m in lab.ann.json(f"/explore/{lab.dataset}/clusters/{c['cluster_id']}")['media']) for c in a['clusters']}
        print(got==stored.clusters(t), stored.clusters(t)-got, got-stored.clusters(t))
    for t in (0,0.5,0.8,0.9):
        a=lab.ann.explore(lab.dataset,[uniqueness(t)])
        print(t,[(c['previews'][0]['file_name'],c['previews'][0]['uniqueness_score']) for c in a['clusters']])
    for i in ('blur','dark','bright','duplicates','outliers'):
        a=lab.ann.explore(lab.dataset,[issue(i,mode='in')])
        print(i,[names(c)[:4] for c in a['clusters']])
    for level in range(5):
        a=lab.ann.explore(lab.dataset,threshold=level)
        print(level,a['metadata'],[c['n_images'] for c in a['clusters']])
    print(lab.ann.json(f"/explore/{lab.dataset}/exploration_metadata"))
    print(lab.ann.ids(lab.dataset))
