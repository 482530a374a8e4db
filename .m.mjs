import { Editor } from "/tmp/wt/term/dist/cli/terminal/editor.js";
import { Screen } from "/tmp/wt/term/dist/cli/terminal/screen.js";
const names=process.argv[2]==="names"?Array.from({length:10000},(_,i)=>"üser"+i):["alice","bob"];
const KEYS="left right home end ctrl-left ctrl-right backspace delete ctrl-u ctrl-y ctrl-k ctrl-y ctrl-w ctrl-y alt-d ctrl-y tab up down enter up ctrl-l".split(" ");
import { foldName } from "/tmp/wt/term/dist/base/names.js";
for(const [cols,rows] of [[80,24],[200,60]]) for(const [k,u] of [["ascii","x"],["words","ab c "],["é","é"],["漢","漢"],["family","👨‍👩‍👧"],["comb","e\u0301"],["flags","🇩🇪"],["marks","\u0301"],["nl","\n"],["spaces"," "],["commas","a,"],["esc","\x1b"]]){
 const s="bob "+u.repeat(Math.floor(65900/u.length))+" y";
 const ed=new Editor({commands:["All"],names:()=>names,fold:foldName});
 let out=0; const scr=new Screen({columns:cols,rows,write:t=>{out+=t.length}},{prompt:x=>x,status:x=>x});
 let worst=["",0]; const all={};
 const press=(key)=>{const t=performance.now(); const i=ed.press(key); if(i.type==="clear")scr.repaint(); scr.show({status:["… → bob: "+s],prompt:"> ",text:ed.text,cursor:ed.cursor}); const d=performance.now()-t; return d;};
 const p=press({type:"paste",text:s});
 for(let r=0;r<3;r++) for(const name of KEYS){const d=press({type:"key",name}); all[name]=Math.min(all[name]??1e9,d);} 
 for(let r=0;r<3;r++){const d=press({type:"text",text:"z"}); all.z=Math.min(all.z??1e9,d);}
 const top=Object.entries(all).sort((a,b)=>b[1]-a[1]).slice(0,4).map(([n,d])=>n+" "+d.toFixed(2)).join(", ");
 console.log(cols,k,"paste",p.toFixed(1),"|",top);
}
