import sys; sys.path.insert(0,"tests")
import test_sampling as t, tempfile, json, torch, pathlib, time
torch.set_num_threads(int(sys.argv[1]))
im=t.data.subset(t.data.load("digits", size=14), train=300, test=100)
copies=[x.clone() for x in (im.train_images,im.train_labels,im.test_images,im.test_labels)]
end=time.time()+150
n=0
ref={k:t.sampling._spec(t.get_net(k),t.RECIPES[k],im,t.SCHEDULE) for k in ("A1","A2")}
import random
while time.time()<end:
    n+=1
    net=random.choice(["A1","A2"])
    f=tempfile.mkdtemp()
    z=t.grown(f,net,im,stack_size=random.choice([1,2,5]))
    for k in ref:
        s=t.sampling._spec(t.get_net(k),t.RECIPES[k],im,t.SCHEDULE)
        if s!=ref[k]:
            print(n,net,k,[j for j in s if s[j]!=ref[k][j]])
            for c,x in zip(copies,(im.train_images,im.train_labels,im.test_images,im.test_labels)):
                print((c!=x).sum(), (c!=x).nonzero()[:5])
            s2=t.sampling._spec(t.get_net(k),t.RECIPES[k],im,t.SCHEDULE); print("again same", s2==ref[k]); sys.exit()
print(n,"ok")
